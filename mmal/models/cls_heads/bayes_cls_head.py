"""A classifier's last layer, trained with an uncertainty branch."""
from __future__ import annotations

from torch import nn

from mmal.registry import MODELS
from ..dense_heads.uncertainty_branch import UncertaintyBranchMixin
from .linear_cls_head import LinearClsHead


@MODELS.register_module()
class BayesClsHead(UncertaintyBranchMixin, LinearClsHead):
    """convBayes for images: a Bayesian branch of C logits beside ``fc``.

    "Loss Rescaling by Uncertainty Inference for Single-stage Object
    Detection" (ICIP 2020), additional experiments. The branch reads the
    pooled map and rescales ``loss_cls``, whose ``use_sigmoid`` must be True,
    class by class. It is not part of the predictions.

    Args:
        *args: See :class:`LinearClsHead`.
        branch (dict, optional): See
            :class:`~mmal.models.dense_heads.branch_options.BranchOptions`.
        **kwargs: See :class:`LinearClsHead`.
    """

    num_base_priors = 1

    @property
    def cls_out_channels(self) -> int:
        """Logits of an image in the branch."""
        return self.num_classes

    def branched_layers(self) -> list[nn.Conv2d]:
        """``fc``."""
        return [self.fc]
