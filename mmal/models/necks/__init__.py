"""Necks that mmdet lacks."""
from .dropout_ssd_neck import DropoutSSDNeck

__all__ = ['DropoutSSDNeck']
