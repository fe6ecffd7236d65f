"""ATSS with mixtures."""
from __future__ import annotations

import torch
from mmdet.models.dense_heads import ATSSHead
from torch import nn

from mmal.recorder import ModuleCall
from mmal.registry import MODELS
from .anchor_mixtures import AnchorMixturesMixin
from .mixture_outputs import Positives, weighted_positives


@MODELS.register_module()
class MDNATSSHead(AnchorMixturesMixin, ATSSHead):
    """ATSS with mixtures of deltas and of sigmoids.

    See :class:`~.mixture_outputs.MixtureOutputsMixin`. The Gaussians are in
    the space of the deltas, as the bounding box coder normalises them.
    ``loss_nll`` is weighted by centerness, as the box loss is.

    Args:
        *args: See mmdet's ``ATSSHead``.
        **kwargs: See mmdet's ``ATSSHead`` and the mixin.

    Raises:
        ValueError: See the mixin.
    """

    plain_outputs = 3

    def prediction_layers(self) -> tuple[list[nn.Conv2d], list[nn.Conv2d]]:
        """See the mixin; each is called once a level."""
        return [self.atss_cls], [self.atss_reg]

    def positives(self, calls: dict[str, list[ModuleCall]]) -> Positives:
        """The anchors of a class; mmdet asks for their boxes alone."""
        labels = torch.cat([call.args[1] for call in calls['loss_cls']])
        return weighted_positives(labels, self.num_classes,
                                  calls['loss_bbox'])
