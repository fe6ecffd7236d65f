"""Losses of probabilistic heads, each a function and a module."""
from .anchor_loss import AnchorLoss, anchor_loss
from .evidential_loss import EvidenceLoss, predicted_loss_error
from .mixture_cross_entropy_loss import (
    MixtureCrossEntropyLoss,
    mixture_cross_entropy,
)
from .mixture_energy_loss import (
    MixtureEnergyLoss,
    mixture_crps,
    mixture_energy,
)
from .mixture_nll_loss import MixtureNLLLoss, mixture_nll
from .ranking_loss import PairwiseRankingLoss, pairwise_ranking_loss
from .uncertainty_rescaled_loss import (
    RescalingStatistics,
    UncertaintyRescaledLoss,
    rescale_by_difficulty,
)
from .uncertainty_weight import uncertainty_weight

__all__ = [
    'AnchorLoss', 'BOX_MIXTURE_LOSSES', 'EvidenceLoss',
    'MixtureCrossEntropyLoss', 'MixtureEnergyLoss', 'MixtureNLLLoss',
    'PairwiseRankingLoss', 'RescalingStatistics', 'UncertaintyRescaledLoss',
    'anchor_loss', 'mixture_cross_entropy', 'mixture_crps', 'mixture_energy',
    'mixture_nll', 'pairwise_ranking_loss', 'predicted_loss_error',
    'rescale_by_difficulty', 'uncertainty_weight'
]

# what a head takes for the likelihood of its boxes
BOX_MIXTURE_LOSSES = (MixtureNLLLoss, MixtureEnergyLoss)
