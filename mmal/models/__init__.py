"""Detector parts, in the folders mmdet uses."""
from .backbones import EfficientNetLite, SmallImageResNet, VGG16ForSSD
from .classifiers import ImageClassifier, LearningLossClassifier
from .cls_heads import BayesClsHead, LinearClsHead
from .dense_heads import (
    BayesFCOSHead,
    BayesRetinaHead,
    BayesYOLOV3Head,
    EvidentialRetinaHead,
    GaussianFCOSHead,
    MDNFCOSHead,
    MDNSSDHead,
    SSDHead,
)
from .detectors import LearningLossDetector
from .layers import BayesConv2d
from .losses import (
    AnchorLoss,
    EvidenceLoss,
    MixtureCrossEntropyLoss,
    MixtureNLLLoss,
    PairwiseRankingLoss,
    UncertaintyRescaledLoss,
)
from .necks import DropoutFPN, DropoutSSDNeck
from .roi_heads import MDNShared2FCBBoxHead
from .task_heads import LossPredictionHead

__all__ = [
    'AnchorLoss', 'BayesClsHead', 'BayesConv2d', 'BayesFCOSHead',
    'BayesRetinaHead', 'BayesYOLOV3Head', 'DropoutFPN', 'DropoutSSDNeck',
    'EfficientNetLite', 'EvidenceLoss', 'EvidentialRetinaHead',
    'GaussianFCOSHead', 'ImageClassifier', 'LearningLossClassifier',
    'LearningLossDetector', 'LinearClsHead', 'LossPredictionHead',
    'MDNFCOSHead', 'MDNSSDHead', 'MDNShared2FCBBoxHead',
    'MixtureCrossEntropyLoss', 'MixtureNLLLoss', 'PairwiseRankingLoss',
    'SSDHead', 'SmallImageResNet', 'UncertaintyRescaledLoss', 'VGG16ForSSD'
]
