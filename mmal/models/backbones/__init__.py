"""Backbones that mmdet lacks, and what the weights of one start from."""
from .efficientnet_lite import EfficientNetLite
from .small_image_resnet import SmallImageResNet
from .vgg16_for_ssd import VGG16ForSSD, decimate_vgg16

__all__ = [
    'EfficientNetLite', 'SmallImageResNet', 'VGG16ForSSD', 'decimate_vgg16'
]
