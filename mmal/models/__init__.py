"""Detector parts, in the folders mmdet uses."""
from .backbones import EfficientNetLite
from .dense_heads import MDNSSDHead, SSDHead
from .losses import MixtureCrossEntropyLoss, MixtureNLLLoss
from .necks import DropoutSSDNeck

__all__ = [
    'DropoutSSDNeck', 'EfficientNetLite', 'MDNSSDHead',
    'MixtureCrossEntropyLoss', 'MixtureNLLLoss', 'SSDHead'
]
