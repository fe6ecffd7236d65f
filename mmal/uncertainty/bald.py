"""BALD of a normal logit, and the difficulty that convBayes makes of it."""
import math

import torch
from torch import Tensor

from .precision import at_least_float32

_C = math.sqrt(math.pi * math.log(2) / 2)
# What infinite inputs count as: their ratio would be NaN.
_LARGEST = 1e30
# In standard deviations: a little beyond it the normal tail is 0 in float32,
# and the entropy there without a logarithm.
_SATURATED = 12.


def bald(mean: Tensor, std: Tensor) -> Tensor:
    """h(Φ(μ / sqrt(σ² + 1))) - C / sqrt(σ² + C²) exp(-μ² / 2(σ² + C²)).

    Li et al., ICIP 2020, eq. 2, by Houlsby et al., 2011: the mutual
    information of a binary label with the probability Φ(z), z ~ N(μ, σ²), and
    z. h is the binary entropy in bits, Φ the normal distribution function and
    C = sqrt(π ln 2 / 2). The second term approximates the mean entropy.

    Args:
        mean (Tensor): μ, any shape.
        std (Tensor): σ >= 0, a shape that broadcasts with it.

    Returns:
        Tensor: In [0, 1] bits (what the approximation leaves outside counts
        as the ends), float32 or better. Infinite inputs count as 1e30.

    Example:
        >>> bald(torch.tensor([0., 0., 4.]), torch.tensor([0., 2., 2.]))
        tensor([0.0000, 0.5374, 0.1315])
    """
    mean = at_least_float32(mean).clamp(-_LARGEST, _LARGEST)
    std = at_least_float32(std).clamp(-_LARGEST, _LARGEST)
    total = _probit_entropy(_ratio(mean, std, 1.))
    gap = _ratio(mean, std, _C).square() / -2
    expected = _C / _hypot(std, _C) * gap.exp()
    return (total - expected).clamp(0, 1)


def difficulty(uncertainty: Tensor, correct: Tensor) -> Tensor:
    """U / 2 if correct, (1 - U) / 2 + 1/2 otherwise; U = sigmoid(U_BALD).

    Li et al., ICIP 2020, eq. 3.

    Args:
        uncertainty (Tensor): U_BALD of :func:`bald`, in [0, 1] bits.
        correct (Tensor): The same shape: whether the prediction is, as bool,
            or how far, in [0, 1], which mixes both cases.

    Returns:
        Tensor: The same shape, float32 or better: [0.25, 0.366] for correct
        predictions, growing with the uncertainty, and [0.634, 0.75] for
        wrong ones, falling with it.

    Example:
        >>> difficulty(torch.zeros(3), torch.tensor([1., 0., 0.5]))
        tensor([0.2500, 0.7500, 0.5000])
    """
    half = at_least_float32(uncertainty).sigmoid() / 2
    if correct.dtype == torch.bool:
        return torch.where(correct, half, 1 - half)
    return torch.lerp(1 - half, half, correct.to(half.dtype))


def _ratio(mean: Tensor, std: Tensor, constant: float) -> Tensor:
    """μ / sqrt(σ² + c²), limited to where its functions are above 0."""
    ratio = mean / _hypot(std, constant)
    return ratio.clamp(-_SATURATED, _SATURATED)


def _hypot(std: Tensor, constant: float) -> Tensor:
    return torch.hypot(std, std.new_tensor(constant))


def _probit_entropy(x: Tensor) -> Tensor:
    """h(Φ(x)) in bits, from the smaller probability, which is above 0."""
    prob = torch.erfc(x.abs() / math.sqrt(2)) / 2
    return (-prob * prob.log() - (1 - prob) * (-prob).log1p()) / math.log(2)
