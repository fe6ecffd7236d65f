"""Small data sets and detectors for the demo and for tests."""
from .digit_images import make_digit_images
from .digits import make_digits
from .tiny import (
    tiny_active_learning,
    tiny_coco,
    tiny_config,
    tiny_fcos,
    tiny_fcos_config,
)
from .tiny_faster_rcnn import (
    tiny_faster_rcnn,
    tiny_faster_rcnn_config,
    tiny_mdn_faster_rcnn,
)
from .tiny_mdn_fcos import tiny_mdn_fcos, tiny_mdn_fcos_config
from .tiny_ssd import tiny_mdn_ssd, tiny_ssd, tiny_ssd_config

__all__ = [
    'make_digit_images', 'make_digits', 'tiny_active_learning', 'tiny_coco',
    'tiny_config', 'tiny_faster_rcnn', 'tiny_faster_rcnn_config', 'tiny_fcos',
    'tiny_fcos_config', 'tiny_mdn_faster_rcnn', 'tiny_mdn_fcos',
    'tiny_mdn_fcos_config', 'tiny_mdn_ssd', 'tiny_ssd', 'tiny_ssd_config'
]
