"""Losses of probabilistic heads, each a function and a module."""
from .mixture_cross_entropy_loss import (
    MixtureCrossEntropyLoss,
    mixture_cross_entropy,
)
from .mixture_nll_loss import MixtureNLLLoss, mixture_nll
from .uncertainty_weight import uncertainty_weight

__all__ = [
    'MixtureCrossEntropyLoss', 'MixtureNLLLoss', 'mixture_cross_entropy',
    'mixture_nll', 'uncertainty_weight'
]
