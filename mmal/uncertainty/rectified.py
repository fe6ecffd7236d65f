"""Moments of a Gaussian behind a ReLU."""
import math
from typing import Tuple

import torch
from torch import Tensor

from .precision import at_least_float32

# A variance below which a value counts as certain.
_TINY = 1e-12
# In standard deviations: the density beyond it is as good as 0 in float64.
_FAR = 30.0


def rectified_moments(mean: Tensor,
                      variance: Tensor) -> Tuple[Tensor, Tensor]:
    """Mean and variance of max(0, X) for X ~ N(mean, variance).

    With z = mean / std, Phi and phi the standard normal distribution and
    density: E = mean Phi + std phi, and Var = variance (Phi + z^2 Phi (1 -
    Phi) + z phi (1 - 2 Phi) - phi^2), in which nothing large cancels.

    Args:
        mean (Tensor): Any shape.
        variance (Tensor): The same shape, >= 0.

    Returns:
        tuple[Tensor, Tensor]: Mean and variance, both >= 0, float32 or
        better; differentiable at variance 0 too.

    Example:
        >>> rectified_moments(torch.tensor(0.0), torch.tensor(1.0))
        (tensor(0.3989), tensor(0.3408))
    """
    mean, variance = at_least_float32(mean), at_least_float32(variance)
    std = variance.clamp(min=_TINY).sqrt()
    z = (mean / std).clamp(-_FAR, _FAR)
    above, below = torch.special.ndtr(z), torch.special.ndtr(-z)
    density = (-z.square() / 2).exp() / math.sqrt(2 * math.pi)
    first = mean * above + std * density
    share = (
        above + z.square() * above * below + z * density * (below - above) -
        density.square())
    return first.clamp(min=0), variance * share.clamp(min=0)
