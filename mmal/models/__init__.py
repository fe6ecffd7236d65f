"""Detector parts, in the folders mmdet uses."""
from .backbones import EfficientNetLite
from .dense_heads import (
    GaussianFCOSHead,
    MDNFCOSHead,
    MDNSSDHead,
    SSDHead,
)
from .detectors import LearningLossDetector
from .losses import (
    MixtureCrossEntropyLoss,
    MixtureNLLLoss,
    PairwiseRankingLoss,
)
from .necks import DropoutFPN, DropoutSSDNeck
from .roi_heads import MDNShared2FCBBoxHead
from .task_heads import LossPredictionHead

__all__ = [
    'DropoutFPN', 'DropoutSSDNeck', 'EfficientNetLite', 'GaussianFCOSHead',
    'LearningLossDetector', 'LossPredictionHead', 'MDNFCOSHead', 'MDNSSDHead',
    'MDNShared2FCBBoxHead', 'MixtureCrossEntropyLoss', 'MixtureNLLLoss',
    'PairwiseRankingLoss', 'SSDHead'
]
