"""An uncertainty of each anchor (point), and of each of its classes."""
from __future__ import annotations

from typing import Callable, NamedTuple

from torch import Tensor


class DenseValues(NamedTuple):
    """Uncertainties of B images at P positions.

    Args:
        positions (Tensor): [B, P], of the class of a position.
        classes (Tensor): [B, P, num_classes], of each class as a binary
            variable: an object of it is here or not.
    """
    positions: Tensor
    classes: Tensor


def dense_values(probs: Tensor, num_classes: int,
                 categorical: Callable[[Tensor], Tensor],
                 binary: Callable[[Tensor], Tensor]) -> DenseValues:
    """Measure how uncertain class probabilities are.

    Args:
        probs (Tensor): [B, P, C] in [0, 1]. With C = num_classes + 1 they are
            the classes and the background of a softmax; else each class is
            an outcome of its own.
        num_classes (int): Without the background.
        categorical (callable): [..., C] of one distribution to [...].
        binary (callable): Elementwise, of the probability of an outcome.

    Returns:
        DenseValues: Its ``positions`` are ``categorical`` for a softmax, else
        the sum of the classes.
    """
    classes = binary(probs[..., :num_classes])
    softmax = probs.size(-1) == num_classes + 1
    positions = categorical(probs) if softmax else classes.sum(-1)
    return DenseValues(positions, classes)
