"""Where in an image a dense scorer finds what it looks for."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmal.models.utils import level_grid
from mmal.models.utils.per_image import head_outputs
from mmal.scoring.batch import Batch


class MapScorer(Protocol):
    """A scorer of dense values.

    Args:
        quantity (str): What the values are, with their unit.
    """
    quantity: str

    def map_values(self, model: nn.Module, batch: Batch,
                   class_index: Optional[int]) -> Tensor:
        """[B, P] in mmdet's order; of one class if it is given."""


@torch.no_grad()
def score_map(scorer: MapScorer,
              model: nn.Module,
              batch: Batch,
              class_index: Optional[int] = None) -> Tensor:
    """The informativeness of each pixel.

    "Scalable Active Learning for Object Detection", figure 2: the scorer's
    values before aggregation. Of the anchors of a position the largest counts,
    and of the levels, each enlarged to the image, too.

    Args:
        scorer (MapScorer): E.g. a :class:`mmal.scoring.EntropyScorer`, after
            ``prepare``.
        model (nn.Module): The trained detector in eval mode.
        batch (Batch): B images.
        class_index (int, optional): The values of this class alone, without
            its weight. When None those that the scorer aggregates: of
            ``classes='separate'`` the largest of the classes.

    Returns:
        Tensor: [B, H, W], as large as ``batch.inputs``, padding included.
    """
    with _grids(model.bbox_head) as grids:
        values = scorer.map_values(model, batch, class_index)
        if not grids:  # the scorer asked other models alone
            head_outputs(model, batch.inputs)
    size = batch.inputs.shape[-2:]
    maps = [_enlarged(level, size) for level in level_maps(values, grids[0])]
    return torch.stack(maps).amax(0)


@contextmanager
def _grids(head: nn.Module) -> Iterator[list]:
    """The :func:`level_grid` of each forward pass of a head inside."""
    found: list = []
    handle = head.register_forward_hook(
        lambda _, __, outputs: found.append(level_grid(head, outputs)))
    try:
        yield found
    finally:
        handle.remove()


def level_maps(values: Tensor, grid: list[tuple[int, ...]]) -> list[Tensor]:
    """Values of positions as one map a level.

    Args:
        values (Tensor): [B, P] in mmdet's order.
        grid (list[tuple[int, int, int]]): See
            :func:`mmal.models.utils.level_grid`.

    Returns:
        list[Tensor]: [B, H, W] of each level, the largest of the anchors.
    """
    counts = [h * w * anchors for h, w, anchors in grid]
    levels = values.split(counts, dim=1)
    return [x.unflatten(1, shape).amax(-1) for x, shape in zip(levels, grid)]


def _enlarged(level: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(
        level[:, None], size, mode='bilinear', align_corners=False)[:, 0]
