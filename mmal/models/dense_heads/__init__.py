"""Dense heads whose outputs are distributions."""
from .bayes_fcos_head import BayesFCOSHead
from .bayes_retina_head import BayesRetinaHead
from .bayes_yolo_head import BayesYOLOV3Head
from .evidential_retina_head import EvidentialRetinaHead
from .gaussian_fcos_head import GaussianFCOSHead
from .mdn_atss_head import MDNATSSHead
from .mdn_fcos_head import MDNFCOSHead
from .mdn_retina_head import MDNRetinaHead
from .mdn_rtmdet_head import MDNRTMDetHead
from .mdn_ssd_head import MDNSSDHead
from .mdn_yolox_head import MDNYOLOXHead
from .mixture_outputs import MixtureOutputsMixin
from .ssd_head import SSDHead
from .uncertainty_branch import UncertaintyBranchMixin

__all__ = [
    'BayesFCOSHead', 'BayesRetinaHead', 'BayesYOLOV3Head',
    'EvidentialRetinaHead', 'GaussianFCOSHead', 'MDNATSSHead', 'MDNFCOSHead',
    'MDNRTMDetHead', 'MDNRetinaHead', 'MDNSSDHead', 'MDNYOLOXHead',
    'MixtureOutputsMixin', 'SSDHead', 'UncertaintyBranchMixin'
]
