"""Where in an image a dense scorer finds what it looks for."""
from __future__ import annotations

from typing import Optional, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmal.models.utils import level_grid
from mmal.models.utils.per_image import head_outputs
from mmal.recorder import Recorder
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
    head, grids = model.bbox_head, []
    # Of each pass the grid alone is kept: outputs are large.
    with Recorder({'bbox_head': head}, lambda call: grids.append(
            level_grid(head, call.output))):
        values = scorer.map_values(model, batch, class_index)
        if not grids:  # the scorer asked other models alone
            head_outputs(model, batch.inputs)
    size = batch.inputs.shape[-2:]
    maps = [
        F.interpolate(level[:, None], size, mode='bilinear',
                      align_corners=False)[:, 0]
        for level in level_maps(values, grids[0])
    ]
    return torch.stack(maps).amax(0)


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
