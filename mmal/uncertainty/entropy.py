"""Entropies of class probabilities, in nats."""
import torch
from torch import Tensor

from .precision import at_least_float32


def categorical_entropy(probs: Tensor, dim: int = -1) -> Tensor:
    """-sum_c p_c log p_c, with 0 log 0 = 0.

    Args:
        probs (Tensor): Probabilities that sum to 1 over ``dim``; values just
            outside [0, 1] count as its ends.
        dim (int): The dimension of the C classes.

    Returns:
        Tensor: Without ``dim``, in [0, log C], float32 or better.

    Example:
        >>> categorical_entropy(torch.tensor([[.5, .5], [1., 0.]]))
        tensor([0.6931, 0.0000])
    """
    return torch.special.entr(at_least_float32(probs).clamp(0, 1)).sum(dim=dim)


def binary_entropy(probs: Tensor) -> Tensor:
    """-p log p - (1 - p) log(1 - p), with 0 log 0 = 0, elementwise.

    Args:
        probs (Tensor): Any shape; values just outside [0, 1] count as its
            ends.

    Returns:
        Tensor: The same shape, in [0, log 2], float32 or better.

    Example:
        >>> binary_entropy(torch.tensor([0., 0.5, 1.]))
        tensor([0.0000, 0.6931, 0.0000])
    """
    probs = at_least_float32(probs).clamp(0, 1)
    return torch.special.entr(probs) + torch.special.entr(1 - probs)
