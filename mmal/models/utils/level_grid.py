"""Where the anchors (points) of a one-stage detector lie."""
from __future__ import annotations

from torch import nn

from .per_image import Outputs


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
