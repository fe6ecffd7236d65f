"""Detections of several views of an image, merged."""
from .det_tta import DetTTAModel
from .merge_views import merge_views, unflip

__all__ = ['DetTTAModel', 'merge_views', 'unflip']
