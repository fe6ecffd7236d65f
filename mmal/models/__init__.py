"""Detector parts, in the folders mmdet uses."""
from .backbones import EfficientNetLite
from .dense_heads import MDNSSDHead, SSDHead
from .losses import MixtureCrossEntropyLoss, MixtureNLLLoss
from .necks import DropoutSSDNeck
from .roi_heads import MDNShared2FCBBoxHead

__all__ = [
    'DropoutSSDNeck', 'EfficientNetLite', 'MDNSSDHead', 'MDNShared2FCBBoxHead',
    'MixtureCrossEntropyLoss', 'MixtureNLLLoss', 'SSDHead'
]
