"""Box heads of two-stage detectors whose outputs are distributions."""
from .mdn_bbox_head import MDNShared2FCBBoxHead

__all__ = ['MDNShared2FCBBoxHead']
