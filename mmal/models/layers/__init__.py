"""Layers, and outputs of heads as objects."""
from .bayes_conv import BayesConv2d
from .class_mixture import ClassMixture
from .gaussian_mixture import GaussianMixture
from .point_outputs import DistanceOutput, SigmoidOutput
from .raw_outputs import BoxOutput, ClassOutput
from .sigmoid_mixture import SigmoidMixture
from .uncertainty_branch import UncertaintyBranch

__all__ = [
    'BayesConv2d', 'BoxOutput', 'ClassMixture', 'ClassOutput',
    'DistanceOutput', 'GaussianMixture', 'SigmoidMixture', 'SigmoidOutput',
    'UncertaintyBranch'
]
