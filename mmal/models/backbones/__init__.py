"""Backbones that mmdet lacks."""
from .efficientnet_lite import EfficientNetLite
from .small_image_resnet import SmallImageResNet

__all__ = ['EfficientNetLite', 'SmallImageResNet']
