"""Outputs of heads as objects."""
from .class_mixture import ClassMixture
from .gaussian_mixture import GaussianMixture
from .raw_outputs import BoxOutput, ClassOutput

__all__ = ['BoxOutput', 'ClassMixture', 'ClassOutput', 'GaussianMixture']
