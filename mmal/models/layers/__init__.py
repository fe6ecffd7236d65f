"""Outputs of heads as objects."""
from .class_mixture import ClassMixture
from .gaussian_mixture import GaussianMixture
from .point_outputs import DistanceOutput, SigmoidOutput
from .raw_outputs import BoxOutput, ClassOutput
from .sigmoid_mixture import SigmoidMixture

__all__ = [
    'BoxOutput', 'ClassMixture', 'ClassOutput', 'DistanceOutput',
    'GaussianMixture', 'SigmoidMixture', 'SigmoidOutput'
]
