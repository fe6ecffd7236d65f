"""Losses of probabilistic heads, each a function and a module."""
from .mixture_cross_entropy_loss import (
    MixtureCrossEntropyLoss,
    mixture_cross_entropy,
)
from .mixture_nll_loss import MixtureNLLLoss, mixture_nll
from .ranking_loss import PairwiseRankingLoss, pairwise_ranking_loss
from .uncertainty_weight import uncertainty_weight

__all__ = [
    'MixtureCrossEntropyLoss', 'MixtureNLLLoss', 'PairwiseRankingLoss',
    'mixture_cross_entropy', 'mixture_nll', 'pairwise_ranking_loss',
    'uncertainty_weight'
]
