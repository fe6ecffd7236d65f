"""Detector parts, in the folders mmdet uses."""
from .backbones import EfficientNetLite

__all__ = ['EfficientNetLite']
