"""How hard the classes of a detector are, and what that makes of a box."""
from __future__ import annotations

import math

import torch
from torch import Tensor

from .precision import at_least_float32


def match_quality(probs: Tensor, ious: Tensor, xi: float = 0.6) -> Tensor:
    """p^xi · IoU^(1 - xi): how well a matched prediction finds its object.

    Yang et al., "Plug and Play Active Learning for Object Detection", CVPR
    2024. One minus it is the difficulty of the match.

    Args:
        probs (Tensor): Of the true class, in [0, 1], any shape.
        ious (Tensor): Of predicted and true box, in [0, 1], the same shape.
        xi (float): Share of the class, in [0, 1].

    Returns:
        Tensor: The same shape, in [0, 1], float32 or better.

    Example:
        >>> match_quality(torch.tensor([1., .25]), torch.tensor([0., 1.]), .5)
        tensor([0.0000, 0.5000])
    """
    probs = at_least_float32(probs).clamp(0, 1)
    ious = at_least_float32(ious).clamp(0, 1)
    return probs.pow(xi) * ious.pow(1 - xi)


def difficulty_weight(difficulty: Tensor,
                      alpha: float = 0.3,
                      beta: float = 0.2) -> Tensor:
    """1 + alpha beta log(1 + (e^(1/alpha) - 1) d): from 1 to 1 + beta.

    PPAL (:func:`match_quality`). The smaller ``alpha``, the sooner a class
    that is a little difficult has nearly the whole weight.

    Args:
        difficulty (Tensor): d, in [0, 1], any shape.
        alpha (float): > 0.
        beta (float): >= 0.

    Returns:
        Tensor: The same shape, in [1, 1 + beta].

    Example:
        >>> difficulty_weight(torch.tensor([0., 1.]), beta=.5)
        tensor([1.0000, 1.5000])
    """
    slope = math.expm1(1 / alpha)
    return 1 + alpha * beta * torch.log1p(slope * difficulty)
