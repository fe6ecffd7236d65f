"""Heads of two-stage detectors whose outputs are distributions."""
from .mdn_bbox_head import MDNShared2FCBBoxHead
from .mdn_cascade_roi_head import MDNCascadeRoIHead

__all__ = ['MDNCascadeRoIHead', 'MDNShared2FCBBoxHead']
