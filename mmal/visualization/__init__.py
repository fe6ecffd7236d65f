"""Pictures of detections with their uncertainties."""
from .det_inferencer import DetInferencer
from .draw import draw_detections, load_detector
from .uncertainty_visualizer import (
    UncertaintyVisualizer,
    place_labels,
    uncertainty_text,
)

__all__ = [
    'DetInferencer', 'UncertaintyVisualizer', 'draw_detections',
    'load_detector', 'place_labels', 'uncertainty_text'
]
