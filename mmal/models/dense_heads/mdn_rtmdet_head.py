"""RTMDet with mixtures."""
from __future__ import annotations

import torch
from mmdet.models.dense_heads import RTMDetSepBNHead
from torch import Tensor, nn

from mmal.recorder import ModuleCall
from mmal.registry import MODELS
from ..layers import GaussianMixture
from .mixture_outputs import Positives, weighted_positives
from .point_mixtures import PointMixturesMixin


@MODELS.register_module()
class MDNRTMDetHead(PointMixturesMixin, RTMDetSepBNHead):
    """RTMDet with mixtures of distances and of sigmoids.

    See :class:`~.mixture_outputs.MixtureOutputsMixin`. The Gaussians are of
    left, top, right and bottom in strides of the level, after the exponential
    of ``exp_on_reg``. ``loss_nll`` is weighted by how well a point is
    aligned, as the box loss is.

    Args:
        *args: See mmdet's ``RTMDetSepBNHead``.
        **kwargs: See mmdet's ``RTMDetSepBNHead`` and the mixin.

    Raises:
        ValueError: See the mixin.
    """

    def prediction_layers(self) -> tuple[list[nn.Conv2d], list[nn.Conv2d]]:
        """See the mixin; one of each for a level."""
        return list(self.rtm_cls), list(self.rtm_reg)

    def positives(self, calls: dict[str, list[ModuleCall]]) -> Positives:
        """The points of a class; mmdet asks for their boxes alone."""
        # with the labels come the alignments
        labels = torch.cat([call.args[1][0] for call in calls['loss_cls']])
        return weighted_positives(labels, self.num_classes,
                                  calls['loss_bbox'])

    def encode(self, priors: Tensor, targets: Tensor) -> Tensor:
        """Distances from the points to the sides, [n, 4] in strides."""
        points, strides = priors.split(2, dim=1)
        return self.bbox_coder.encode(points, targets) / strides.repeat(1, 2)

    def means(self, boxes: Tensor, priors: Tensor) -> Tensor:
        """The head gives pixels."""
        return boxes / priors[:, 2:].repeat(1, 2)

    def box_std(self, mixture: GaussianMixture, means: Tensor,
                priors: Tensor) -> Tensor:
        """A side moves as its distance does."""
        std = (mixture.aleatoric + mixture.epistemic).sqrt()
        return std * priors[:, 2:].repeat(1, 2)

    def edge_mixture(self, mixture: GaussianMixture,
                     priors: Tensor) -> GaussianMixture:
        """Edges are linear in distances, so J = K, without approximation."""
        points, strides = (x.repeat(1, 2)[:, None]
                           for x in priors.split(2, dim=1))
        # left and top are towards 0
        side = strides * strides.new_tensor([-1, -1, 1, 1])
        return GaussianMixture(
            points + side * mixture.means,
            side.square() * mixture.variances, mixture.log_weights)
