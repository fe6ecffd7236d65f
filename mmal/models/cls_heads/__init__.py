"""Heads that give an image one class."""
from .bayes_cls_head import BayesClsHead
from .linear_cls_head import LinearClsHead

__all__ = ['BayesClsHead', 'LinearClsHead']
