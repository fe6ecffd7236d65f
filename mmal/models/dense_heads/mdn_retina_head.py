"""RetinaNet with mixtures."""
from __future__ import annotations

import torch
from mmdet.models.dense_heads import RetinaHead
from torch import nn

from mmal.recorder import ModuleCall
from mmal.registry import MODELS
from .anchor_mixtures import AnchorMixturesMixin
from .mixture_outputs import Positives


@MODELS.register_module()
class MDNRetinaHead(AnchorMixturesMixin, RetinaHead):
    """RetinaNet with mixtures of deltas and of sigmoids.

    See :class:`~.mixture_outputs.MixtureOutputsMixin`. The Gaussians are in
    the space of the deltas, as the bounding box coder normalises them.

    Args:
        *args: See mmdet's ``RetinaHead``.
        **kwargs: See mmdet's ``RetinaHead`` and the mixin.

    Raises:
        ValueError: See the mixin.
    """

    def prediction_layers(self) -> tuple[list[nn.Conv2d], list[nn.Conv2d]]:
        """See the mixin; each is called once a level."""
        return [self.retina_cls], [self.retina_reg]

    def positives(self, calls: dict[str, list[ModuleCall]]) -> Positives:
        """All anchors whose boxes have weights."""
        _, targets, weights = (
            torch.cat(args)
            for args in zip(*(call.args for call in calls['loss_bbox'])))
        rows = weights.amax(1).nonzero().squeeze(1)
        return Positives(rows, targets[rows], weights[rows],
                         calls['loss_bbox'][0].kwargs['avg_factor'])
