"""RetinaNet trained with an uncertainty branch on its classes."""
from __future__ import annotations

from mmdet.models.dense_heads import RetinaHead
from torch import nn

from mmal.registry import MODELS
from .uncertainty_branch import UncertaintyBranchMixin


@MODELS.register_module()
class BayesRetinaHead(UncertaintyBranchMixin, RetinaHead):
    """A branch of A * C class logits, shared by all levels.

    It rescales ``loss_cls``, whose ``use_sigmoid`` must be True.

    Args:
        *args: See mmdet's ``RetinaHead``.
        branch (dict, optional): See :class:`~.branch_options.BranchOptions`.
        **kwargs: See mmdet's ``RetinaHead``.
    """

    def branched_layers(self) -> list[nn.Conv2d]:
        """``retina_cls``."""
        return [self.retina_cls]
