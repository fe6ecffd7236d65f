"""Targets and weights for every element of sigmoid predictions."""
from typing import Optional

import torch
from torch import Tensor


def is_own_class(pred: Tensor, target: Tensor) -> Tensor:
    """Whether an element's class is its row's, by labels or probabilities.

    Args:
        pred (Tensor): [..., C].
        target (Tensor): Labels [...], of which those outside [0, C) are
            background, or probabilities [..., C], of which those above one
            half are the row's classes (labels may be smoothed).

    Returns:
        Tensor: bool, the shape of ``pred``.
    """
    if target.dim() == pred.dim():
        return target > 0.5
    classes = torch.arange(pred.shape[-1], device=pred.device)
    return target[..., None] == classes


def is_counted(pred: Tensor,
               target: Tensor,
               ignore_index: Optional[int] = None) -> Tensor:
    """Whether an element has a target, i.e. one >= 0.

    Args:
        pred (Tensor): [..., C].
        target (Tensor): [...] or [..., C].
        ignore_index (int, optional): A target that is none either.

    Returns:
        Tensor: bool, the shape of ``pred``.
    """
    counted = target >= 0
    if ignore_index is not None:
        counted = counted & (target != ignore_index)
    # a label is a target of all classes
    if counted.dim() < pred.dim():
        counted = counted[..., None]
    return counted.expand(pred.shape)


def full_weight(pred: Tensor, weight: Optional[Tensor]) -> Tensor:
    """Weights in the shape of ``pred``, from all forms that mmdet's have.

    Args:
        pred (Tensor): [..., C].
        weight (Tensor, optional): [...], [..., 1], [..., C] or that
            flattened. None is 1.

    Returns:
        Tensor: float32 or better, the shape of ``pred``.

    Raises:
        ValueError: If the shapes do not fit.
    """
    if weight is None:
        return pred.new_ones(pred.shape, dtype=torch.float32)
    # heads flatten predictions and weights separately
    if weight.numel() == pred.numel():
        return weight.reshape(pred.shape)
    if weight.shape == pred.shape[:-1]:
        weight = weight[..., None]
    if weight.shape != (*pred.shape[:-1], 1):
        raise ValueError(
            f'weights of shape {tuple(weight.shape)} do not fit predictions '
            f'of shape {tuple(pred.shape)}: give one per row or per element.')
    return weight.expand(pred.shape)
