"""Uncertainties as functions of tensors; imports neither mmdet nor mmcv."""
from .entropy import binary_entropy, categorical_entropy
from .mixtures import aleatoric, epistemic, mixture_mean, softmax_aleatoric
from .moments import moments, pooled_moments
from .mutual_information import mutual_information
from .precision import at_least_float32

__all__ = [
    'aleatoric', 'at_least_float32', 'binary_entropy', 'categorical_entropy',
    'epistemic', 'mixture_mean', 'moments', 'mutual_information',
    'pooled_moments', 'softmax_aleatoric'
]
