"""FCOS trained with an uncertainty branch on its classes."""
from __future__ import annotations

from mmdet.models.dense_heads import FCOSHead
from torch import nn

from mmal.registry import MODELS
from .uncertainty_branch import UncertaintyBranchMixin


@MODELS.register_module()
class BayesFCOSHead(UncertaintyBranchMixin, FCOSHead):
    """A branch of C class logits, shared by all levels.

    It rescales ``loss_cls``; boxes and centerness learn as in FCOS.

    Args:
        *args: See mmdet's ``FCOSHead``.
        branch (dict, optional): See :class:`~.branch_options.BranchOptions`.
        **kwargs: See mmdet's ``FCOSHead``.
    """

    def branched_layers(self) -> list[nn.Conv2d]:
        """``conv_cls``."""
        return [self.conv_cls]
