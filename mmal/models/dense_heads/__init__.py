"""Dense heads whose outputs are distributions."""
from .gaussian_fcos_head import GaussianFCOSHead
from .mdn_fcos_head import MDNFCOSHead
from .mdn_ssd_head import MDNSSDHead
from .ssd_head import SSDHead

__all__ = ['GaussianFCOSHead', 'MDNFCOSHead', 'MDNSSDHead', 'SSDHead']
