"""Dense heads whose outputs are distributions."""
from .mdn_ssd_head import MDNSSDHead
from .ssd_head import SSDHead

__all__ = ['MDNSSDHead', 'SSDHead']
