"""Mixtures of the deltas of anchors."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import torch
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from torch import Tensor

from ..layers import GaussianMixture
from ..utils.box_mixture import delta_box_mixture
from ..utils.box_std import delta_box_std
from .mixture_outputs import MixtureOutputsMixin


class AnchorMixturesMixin(MixtureOutputsMixin):
    """Mixtures of the deltas of anchors."""

    def priors(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Anchors [H * W * A, 4] of each level: x1, y1, x2, y2."""
        return self.prior_generator.grid_priors(
            [level.shape[-2:] for level in levels],
            dtype=torch.promote_types(levels[0].dtype, torch.float32),
            device=levels[0].device)

    def encode(self, priors: Tensor, targets: Tensor) -> Tensor:
        """The deltas of the targets, if the box loss is one of boxes."""
        if self.reg_decoded_bbox:
            return self.bbox_coder.encode(priors, targets)
        return targets

    def box_std(self, mixture: GaussianMixture, means: Tensor,
                priors: Tensor) -> Optional[Tensor]:
        """See :func:`~mmal.models.utils.box_std.delta_box_std`."""
        if not isinstance(self.bbox_coder, DeltaXYWHBBoxCoder):
            return None
        return delta_box_std(self.bbox_coder, priors, means,
                             mixture.aleatoric + mixture.epistemic)

    def edge_mixture(self, mixture: GaussianMixture,
                     priors: Tensor) -> Optional[GaussianMixture]:
        """See :func:`~mmal.models.utils.box_mixture.delta_box_mixture`."""
        if not isinstance(self.bbox_coder, DeltaXYWHBBoxCoder):
            return None
        return delta_box_mixture(self.bbox_coder, priors, mixture)
