"""Uncertainties of anchors aggregated to that of an image, step by step."""
from __future__ import annotations

from typing import Sequence, Tuple

import torch
from torch import Tensor

AGGREGATIONS = ('sum', 'mean', 'max')


def hierarchical_aggregation(
        values: Tensor,
        members: Tensor,
        levels: Tensor,
        classes: Tensor,
        shape: Tuple[int, int],
        steps: Sequence[str] = ('sum', 'max', 'sum')) -> Tensor:
    """Anchors to classes, classes to levels, levels to objects to the image.

    Of each object, anchors of one level and class are averaged; then the
    classes of a level are aggregated, then the levels of the object, then
    the objects. What has no anchor does not count.

    Args:
        values (Tensor): [B, P], of P anchors.
        members (Tensor): bool [B, P, n], the objects that an anchor belongs
            to: none, one or several.
        levels (Tensor): int64 [P], the feature level of an anchor.
        classes (Tensor): int64 [B, P], the class of an anchor.
        shape (tuple[int, int]): How many levels and classes there are.
        steps (sequence[str]): How classes, levels and objects are aggregated,
            each one of :data:`AGGREGATIONS`.

    Returns:
        Tensor: float64 [B]; 0 for an image none of whose objects has an
        anchor.

    Example:
        Two anchors of an object on level 0, one on level 1:

        >>> hierarchical_aggregation(
        ...     torch.tensor([[.1, .3, .4]]),
        ...     torch.ones(1, 3, 1, dtype=torch.bool),
        ...     torch.tensor([0, 0, 1]), torch.tensor([[2, 2, 2]]), (2, 3))
        tensor([0.4000], dtype=torch.float64)
    """
    if not members.numel():
        return values.new_zeros(len(values), dtype=torch.float64)
    # A product with indicators sums over the anchors of each object, level
    # and class, in an order that is fixed on a GPU too.
    num_levels, num_classes = shape
    cell = levels * num_classes + classes
    cells = cell[..., None] == torch.arange(
        num_levels * num_classes, device=cell.device)
    cells, objects = cells.double(), members.double().transpose(1, 2)
    values = values.double().masked_fill(~members.any(-1), 0)
    count = objects @ cells  # [B, n, cells]
    total = (objects * values.unsqueeze(1)) @ cells
    result = (total / count.clamp(min=1)).unflatten(-1, shape)
    keep = (count > 0).unflatten(-1, shape)
    for step in steps:
        result, keep = _aggregate(result, keep, step)
    return result


def _aggregate(values: Tensor, keep: Tensor,
               how: str) -> Tuple[Tensor, Tensor]:
    """Of what counts over the last dimension, 0 where nothing does."""
    any_kept = keep.any(-1)
    if how == 'max':
        largest = values.masked_fill(~keep, -torch.inf).amax(-1)
        return largest.masked_fill(~any_kept, 0), any_kept
    total = values.masked_fill(~keep, 0).sum(-1)
    if how == 'mean':
        total = total / keep.sum(-1).clamp(min=1)
    return total, any_kept
