"""How far class probabilities are from a clear decision, in [0, 1]."""
import torch
from torch import Tensor

from .precision import at_least_float32


def categorical_least_confidence(probs: Tensor, dim: int = -1) -> Tensor:
    """1 - max_c p_c (Lewis & Gale, 1994).

    Args:
        probs (Tensor): Probabilities that sum to 1 over ``dim``; values just
            outside [0, 1] count as its ends.
        dim (int): The dimension of the C >= 1 classes.

    Returns:
        Tensor: Without ``dim``, in [0, 1 - 1 / C], float32 or better.

    Example:
        >>> categorical_least_confidence(torch.tensor([[.5, .5], [1., 0.]]))
        tensor([0.5000, 0.0000])
    """
    return 1 - at_least_float32(probs).clamp(0, 1).amax(dim)


def binary_least_confidence(probs: Tensor) -> Tensor:
    """1 - max(p, 1 - p), elementwise; exact for the smallest p.

    Args:
        probs (Tensor): Any shape; values just outside [0, 1] count as its
            ends.

    Returns:
        Tensor: The same shape, in [0, 0.5], float32 or better.

    Example:
        >>> binary_least_confidence(torch.tensor([0., 0.25, 1.]))
        tensor([0.0000, 0.2500, 0.0000])
    """
    probs = at_least_float32(probs).clamp(0, 1)
    # Not 1 - max(p, 1 - p), which rounds to 0 below 1e-8, where most
    # positions of a detector are.
    return torch.minimum(probs, 1 - probs)


def categorical_margin_uncertainty(probs: Tensor, dim: int = -1) -> Tensor:
    """1 - (p_1 - p_2), of the two most probable classes (Scheffer, 2001).

    Args:
        probs (Tensor): Probabilities that sum to 1 over ``dim``; values just
            outside [0, 1] count as its ends.
        dim (int): The dimension of the C >= 1 classes.

    Returns:
        Tensor: Without ``dim``, in [0, 1], float32 or better; 1 - p_1 where
        C is 1.

    Example:
        >>> categorical_margin_uncertainty(torch.tensor([.5, .25, .25]))
        tensor(0.7500)
    """
    probs = at_least_float32(probs).clamp(0, 1)
    # Of a single class the second one is nothing: 0.
    best = probs.topk(min(2, probs.size(dim)), dim).values
    second = best.narrow(dim, 1, best.size(dim) - 1).sum(dim)
    return 1 - (best.select(dim, 0) - second)


def binary_margin_uncertainty(probs: Tensor) -> Tensor:
    """1 - abs(p - (1 - p)), elementwise; exact for the smallest p.

    Args:
        probs (Tensor): Any shape; values just outside [0, 1] count as its
            ends.

    Returns:
        Tensor: The same shape, in [0, 1], float32 or better: twice
        :func:`binary_least_confidence`.

    Example:
        >>> binary_margin_uncertainty(torch.tensor([0., 0.25, 1.]))
        tensor([0.0000, 0.5000, 0.0000])
    """
    return 2 * binary_least_confidence(probs)
