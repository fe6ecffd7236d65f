"""Mutual information between a prediction and the committee's member."""
from typing import Callable, Iterable

from torch import Tensor

from .precision import at_least_float32


def mutual_information(opinions: Iterable[Tensor],
                       entropy: Callable[[Tensor], Tensor]) -> Tensor:
    """Entropy of the mean minus the mean entropy.

    Scalable Active Learning for Object Detection, eq. 2 and 3; known as BALD
    (Houlsby et al., 2011). One opinion is held at a time.

    Args:
        opinions (iterable[Tensor]): Probabilities of M >= 1 members, of one
            shape; a tensor [M, ...] will do.
        entropy (callable): Of one of them, e.g.
            :func:`~mmal.uncertainty.categorical_entropy`.

    Returns:
        Tensor: What ``entropy`` returns, >= 0 (what rounding leaves below is
        0) and, for entropies in nats, at most log M; float32 or better.

    Raises:
        ValueError: If there is no member.

    Example:
        >>> import torch
        >>> from mmal.uncertainty import categorical_entropy
        >>> mutual_information(
        ...     torch.tensor([[0., 1.], [1., 0.]]), categorical_entropy)
        tensor(0.6931)
    """
    members, total, entropies = 0, 0, 0
    for probs in map(at_least_float32, opinions):
        members += 1
        total, entropies = total + probs, entropies + entropy(probs)
    if not members:
        raise ValueError('mutual information of no opinion: give those of '
                         'one member at least.')
    # Never negative but for rounding, as entropy is concave.
    return (entropy(total / members) - entropies / members).clamp(min=0)
