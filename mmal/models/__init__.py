"""Detector parts, in the folders mmdet uses."""
from .backbones import EfficientNetLite
from .dense_heads import (
    BayesFCOSHead,
    BayesRetinaHead,
    BayesYOLOV3Head,
    GaussianFCOSHead,
    MDNFCOSHead,
    MDNSSDHead,
    SSDHead,
)
from .detectors import LearningLossDetector
from .layers import BayesConv2d
from .losses import (
    AnchorLoss,
    MixtureCrossEntropyLoss,
    MixtureNLLLoss,
    PairwiseRankingLoss,
    UncertaintyRescaledLoss,
)
from .necks import DropoutFPN, DropoutSSDNeck
from .roi_heads import MDNShared2FCBBoxHead
from .task_heads import LossPredictionHead

__all__ = [
    'AnchorLoss', 'BayesConv2d', 'BayesFCOSHead', 'BayesRetinaHead',
    'BayesYOLOV3Head', 'DropoutFPN', 'DropoutSSDNeck', 'EfficientNetLite',
    'GaussianFCOSHead', 'LearningLossDetector', 'LossPredictionHead',
    'MDNFCOSHead', 'MDNSSDHead', 'MDNShared2FCBBoxHead',
    'MixtureCrossEntropyLoss', 'MixtureNLLLoss', 'PairwiseRankingLoss',
    'SSDHead', 'UncertaintyRescaledLoss'
]
