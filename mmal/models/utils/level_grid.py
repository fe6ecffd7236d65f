"""Where the anchors (points) of a one-stage detector lie, and what they say.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmal.types import Outputs


def level_grid(head: nn.Module, outputs: Outputs) -> list[tuple[int, ...]]:
    """How many rows, columns and anchors each level has.

    mmdet's order of the P positions of an image: level, row, column, anchor.

    Args:
        head (nn.Module): A head with a ``prior_generator``.
        outputs (Outputs): What it returned.

    Returns:
        list[tuple[int, int, int]]: H, W and A of each level.
    """
    counts = head.prior_generator.num_base_priors
    return [(*level.shape[-2:], n) for level, n in zip(outputs[0], counts)]


def flatten_levels(levels: Sequence[Tensor], channels: int) -> Tensor:
    """Outputs of all levels as rows, in mmdet's order of the positions.

    Args:
        levels (sequence[Tensor]): [B, A * channels, H, W] each.
        channels (int): Channels of an anchor (point).

    Returns:
        Tensor: [B, P, channels], P positions over all levels.
    """
    rows = [
        level.permute(0, 2, 3, 1).reshape(len(level), -1, channels)
        for level in levels
    ]
    return torch.cat(rows, 1)
