"""Backbones that mmdet lacks, and what the weights of one start from."""
from .cached_backbone import CachedBackbone
from .efficientnet_lite import EfficientNetLite
from .image_networks import (
    ImageNetwork,
    TimmBackbone,
    TorchvisionBackbone,
)
from .small_image_resnet import SmallImageResNet
from .vgg16_for_ssd import VGG16ForSSD, decimate_vgg16

__all__ = [
    'CachedBackbone', 'EfficientNetLite', 'ImageNetwork', 'SmallImageResNet',
    'TimmBackbone', 'TorchvisionBackbone', 'VGG16ForSSD', 'decimate_vgg16'
]
