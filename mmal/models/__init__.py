"""Detector parts, in the folders mmdet uses."""
from .backbones import (
    CachedBackbone,
    EfficientNetLite,
    SmallImageResNet,
    VGG16ForSSD,
)
from .classifiers import ImageClassifier, LearningLossClassifier
from .cls_heads import BayesClsHead, LinearClsHead
from .dense_heads import (
    BayesFCOSHead,
    BayesRetinaHead,
    BayesYOLOV3Head,
    EvidentialRetinaHead,
    GaussianFCOSHead,
    MDNATSSHead,
    MDNFCOSHead,
    MDNRetinaHead,
    MDNRTMDetHead,
    MDNSSDHead,
    MDNYOLOXHead,
    SSDHead,
)
from .detectors import LearningLossDetector, calibrated_detector
from .layers import BayesConv2d
from .losses import (
    AnchorLoss,
    EvidenceLoss,
    MixtureCrossEntropyLoss,
    MixtureEnergyLoss,
    MixtureNLLLoss,
    PairwiseRankingLoss,
    UncertaintyRescaledLoss,
)
from .necks import DropoutFPN, DropoutSSDNeck
from .roi_heads import MDNCascadeRoIHead, MDNShared2FCBBoxHead
from .task_heads import LossPredictionHead
from .test_time_augs import DetTTAModel

__all__ = [
    'AnchorLoss', 'BayesClsHead', 'BayesConv2d', 'BayesFCOSHead',
    'BayesRetinaHead', 'BayesYOLOV3Head', 'CachedBackbone', 'DetTTAModel',
    'DropoutFPN', 'DropoutSSDNeck', 'EfficientNetLite', 'EvidenceLoss',
    'EvidentialRetinaHead', 'GaussianFCOSHead', 'ImageClassifier',
    'LearningLossClassifier', 'LearningLossDetector', 'LinearClsHead',
    'LossPredictionHead', 'MDNATSSHead', 'MDNCascadeRoIHead', 'MDNFCOSHead',
    'MDNRTMDetHead', 'MDNRetinaHead', 'MDNSSDHead', 'MDNShared2FCBBoxHead',
    'MDNYOLOXHead', 'MixtureCrossEntropyLoss', 'MixtureEnergyLoss',
    'MixtureNLLLoss', 'PairwiseRankingLoss', 'SSDHead', 'SmallImageResNet',
    'UncertaintyRescaledLoss', 'VGG16ForSSD', 'calibrated_detector'
]
