"""Moments of mixtures, and the two uncertainties they hold.

All functions reduce the components, dimension -2. The total variance of a
Gaussian mixture is its aleatoric plus its epistemic uncertainty.
"""
from torch import Tensor


def mixture_mean(weights: Tensor, means: Tensor) -> Tensor:
    """Mean of a mixture (MDN, eq. 7): sum_k pi_k mu_k.

    Args:
        weights (Tensor): [..., K, D] or [..., K, 1], summing to 1 over K.
        means (Tensor): [..., K, D].

    Returns:
        Tensor: [..., D].

    Example:
        >>> import torch
        >>> mixture_mean(torch.tensor([[.25], [.75]]),
        ...              torch.tensor([[0.], [4.]]))
        tensor([3.])
    """
    return (weights * means).sum(dim=-2)


def aleatoric(weights: Tensor, variances: Tensor) -> Tensor:
    """Aleatoric uncertainty (MDN, eq. 1): sum_k pi_k Sigma_k.

    Args:
        weights (Tensor): [..., K, D] or [..., K, 1], summing to 1 over K.
        variances (Tensor): [..., K, D].

    Returns:
        Tensor: [..., D], in the square of the variable's unit.
    """
    return mixture_mean(weights, variances)


def epistemic(weights: Tensor, means: Tensor) -> Tensor:
    """Epistemic uncertainty (MDN, eq. 1): sum_k pi_k (mu_k - mean)^2.

    Args:
        weights (Tensor): [..., K, D] or [..., K, 1], summing to 1 over K.
        means (Tensor): [..., K, D].

    Returns:
        Tensor: [..., D], in the square of the variable's unit; 0 for K = 1.
    """
    centre = mixture_mean(weights, means).unsqueeze(-2)
    return mixture_mean(weights, (means - centre).square())


def softmax_aleatoric(weights: Tensor, probs: Tensor) -> Tensor:
    """The diagonal of eq. 8 (MDN): sum_k pi_k (p_k - p_k^2).

    Args:
        weights (Tensor): [..., K, 1], summing to 1 over K.
        probs (Tensor): Class probabilities [..., K, C].

    Returns:
        Tensor: [..., C] in [0, 0.25].
    """
    return mixture_mean(weights, probs * (1 - probs))
