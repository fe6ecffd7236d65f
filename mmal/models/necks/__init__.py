"""Necks that mmdet lacks."""
from .dropout_fpn import DropoutFPN
from .dropout_ssd_neck import DropoutSSDNeck

__all__ = ['DropoutFPN', 'DropoutSSDNeck']
