"""YOLOv3 trained with an uncertainty branch on its objectness."""
from __future__ import annotations

from mmdet.models.dense_heads import YOLOV3Head
from torch import Tensor, nn

from mmal.registry import MODELS
from .uncertainty_branch import UncertaintyBranchMixin


@MODELS.register_module()
class BayesYOLOV3Head(UncertaintyBranchMixin, YOLOV3Head):
    """The slides' head: a branch of A objectness logits a level.

    It rescales ``loss_conf``.

    Args:
        *args: See mmdet's ``YOLOV3Head``.
        branch (dict, optional): See :class:`~.branch_options.BranchOptions`.
        **kwargs: See mmdet's ``YOLOV3Head``.
    """

    branched_loss = 'loss_conf'
    branch_classes = 1

    def branched_layers(self) -> list[nn.Conv2d]:
        """``convs_pred``, one a level."""
        return list(self.convs_pred)

    def initial_bias(self, layer: nn.Conv2d) -> Tensor:
        """[A], the objectness part of the bias."""
        return layer.bias.view(self.num_base_priors, -1)[:, 4]
