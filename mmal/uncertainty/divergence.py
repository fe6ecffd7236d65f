"""How far two distributions of classes are from each other, in nats."""
from torch import Tensor

from .entropy import categorical_entropy
from .precision import at_least_float32

# No probability counts as less: a logarithm would not be finite.
LEAST_PROBABILITY = 1e-6


def symmetric_divergence(probs: Tensor, others: Tensor) -> Tensor:
    """1/2 KL(p || q) + 1/2 KL(q || p) = 1/2 sum_c (p_c - q_c) log(p_c / q_c).

    Half of Jeffreys' divergence.

    Args:
        probs (Tensor): p, [..., C]; probabilities below 1e-6 count as 1e-6.
        others (Tensor): q, likewise.

    Returns:
        Tensor: [...], in [0, 13.9] where p and q add up to 1, float32 or
        better.

    Example:
        >>> import torch
        >>> p = torch.tensor([.8, .2])
        >>> symmetric_divergence(p, p.flip(0))
        tensor(0.8318)
    """
    p, q = (at_least_float32(x).clamp(min=LEAST_PROBABILITY)
            for x in (probs, others))
    return ((p - q) * (p.log() - q.log())).sum(-1) / 2


def jensen_shannon(probs: Tensor, others: Tensor) -> Tensor:
    """H((p + q) / 2) - 1/2 H(p) - 1/2 H(q), the Jensen-Shannon divergence.

    Args:
        probs (Tensor): p, [..., C], which adds up to 1.
        others (Tensor): q, likewise.

    Returns:
        Tensor: [...], in [0, log 2], float32 or better.

    Example:
        >>> import torch
        >>> jensen_shannon(torch.tensor([1., 0.]), torch.tensor([0., 1.]))
        tensor(0.6931)
    """
    p, q = at_least_float32(probs), at_least_float32(others)
    mixed = categorical_entropy((p + q) / 2)
    apart = (categorical_entropy(p) + categorical_entropy(q)) / 2
    return (mixed - apart).clamp(min=0)
