"""Mutual information between a prediction and the committee's member."""
from torch import Tensor

from .entropy import binary_entropy, categorical_entropy
from .precision import at_least_float32


def mutual_information(probs: Tensor, categorical: bool) -> Tensor:
    """Entropy of the mean minus the mean entropy, in nats.

    Scalable Active Learning for Object Detection, eq. 2 and 3; known as BALD
    (Houlsby et al., 2011).

    Args:
        probs (Tensor): Of M members. [M, ..., C] that sums to 1 over C if
            categorical, else [M, ...] of independent binary classes.
        categorical (bool): Whether the last dimension is one distribution.

    Returns:
        Tensor: [...], at least 0 and at most log M; float32 or better.

    Raises:
        ValueError: If there is no member.

    Example:
        >>> import torch
        >>> mutual_information(torch.tensor([[0., 1.], [1., 0.]]), True)
        tensor(0.6931)
    """
    if probs.dim() < 1 + categorical or len(probs) == 0:
        raise ValueError(
            f'mutual information of probabilities {tuple(probs.shape)}: give '
            f'[M, ...{", C" if categorical else ""}] with M >= 1.')
    entropy = categorical_entropy if categorical else binary_entropy
    mean = at_least_float32(probs).mean(dim=0)
    return (entropy(mean) - entropy(probs).mean(dim=0)).clamp(min=0)
