"""Mixtures of the boxes of points."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .mixture_outputs import MixtureOutputsMixin


class PointMixturesMixin(MixtureOutputsMixin):
    """Mixtures in strides of a point's level."""

    def priors(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Points [H * W, 4] of each level: x, y, and the strides of both."""
        return self.prior_generator.grid_priors(
            [level.shape[-2:] for level in levels],
            dtype=torch.promote_types(levels[0].dtype, torch.float32),
            device=levels[0].device,
            with_stride=True)
