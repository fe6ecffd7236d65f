"""YOLOX with mixtures."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models.dense_heads import YOLOXHead
from mmdet.utils import reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmal.recorder import ModuleCall
from mmal.registry import MODELS
from mmal.types import Outputs
from ..layers import GaussianMixture
from ..utils import flatten_levels
from ..utils.box_mixture import centre_size_mixture
from .mixture_outputs import Positives
from .point_mixtures import PointMixturesMixin


@MODELS.register_module()
class MDNYOLOXHead(PointMixturesMixin, YOLOXHead):
    """YOLOX with mixtures of box offsets and of sigmoids.

    See :class:`~.mixture_outputs.MixtureOutputsMixin`. The Gaussians are of
    the centre's offsets and of the logs of width and height, in strides of
    the level; those are the targets of YOLOX's ``loss_l1`` too.

    Args:
        *args: See mmdet's ``YOLOXHead``.
        **kwargs: See mmdet's ``YOLOXHead`` and the mixin.

    Raises:
        ValueError: See the mixin.
    """

    plain_outputs = 3

    def prediction_layers(self) -> tuple[list[nn.Conv2d], list[nn.Conv2d]]:
        """See the mixin; one of each for a level."""
        return list(self.multi_level_conv_cls), list(self.multi_level_conv_reg)

    def positives(self, calls: dict[str, list[ModuleCall]]) -> Positives:
        """The points that have an object; all count alike."""
        has_object = calls['loss_obj'][0].args[1].squeeze(1)
        rows = has_object.nonzero().squeeze(1)
        # mmdet asks for no boxes where there are none
        targets = [call.args[1] for call in calls['loss_bbox']] or [
            has_object.new_zeros(0, 4)]
        number = reduce_mean(has_object.new_tensor(float(len(rows))))
        return Positives(rows, targets[0], targets[0].new_ones(len(rows), 1),
                         number.clamp(min=1))

    def encode(self, priors: Tensor, targets: Tensor) -> Tensor:
        """Offsets of centres and logs of sizes, [n, 4]."""
        return self._get_l1_target(
            torch.zeros_like(targets), targets, priors)

    def box_std(self, mixture: GaussianMixture, means: Tensor,
                priors: Tensor) -> Tensor:
        """The delta method.

        With x = px + s·dx and w = s·exp(dw) both x - w/2 and x + w/2 have the
        variance s²·Var(dx) + w²/4·Var(dw) up to terms of higher order.
        """
        spread = (mixture.aleatoric + mixture.epistemic).sqrt()
        strides = priors[:, 2:]
        std = torch.hypot(strides * spread[:, :2],
                          strides * means[:, 2:].exp() / 2 * spread[:, 2:])
        return std.repeat(1, 2)

    def edge_mixture(self, mixture: GaussianMixture,
                     priors: Tensor) -> GaussianMixture:
        """The delta method for each pair of components, J = K·K."""
        means, stds = mixture.means, mixture.variances.sqrt()
        points, strides = (x[:, None] for x in priors.split(2, dim=1))
        half = strides / 2 * means[..., 2:].exp()
        return centre_size_mixture(
            points + strides * means[..., :2], strides * stds[..., :2], half,
            half * stds[..., 2:], mixture.log_weights.expand_as(means))

    def rows(self, levels: Sequence[Tensor], channels: int) -> Tensor:
        """See the mixin; here image, level, row, column."""
        return flatten_levels(levels, channels).flatten(0, 1)

    def prior_rows(self, levels: Sequence[Tensor]) -> Tensor:
        """See the mixin."""
        return torch.cat(self.priors(levels)).repeat(len(levels[0]), 1)

    def class_probabilities(self, *outputs: list[Tensor]) -> Tensor:
        """Objectness times class, of all points.

        Args:
            *outputs (list[Tensor]): What ``forward`` returns.

        Returns:
            Tensor: [B, P, num_classes] in [0, 1].
        """
        objectness = flatten_levels(outputs[2], 1).sigmoid()
        return super().class_probabilities(*outputs) * objectness

    def detections(self, plain: Outputs, batch_img_metas: list[dict], cfg,
                   rescale: bool, with_nms: bool) -> list[InstanceData]:
        """See the mixin; mmdet's ``predict_by_feat`` with ``positions``."""
        cfg = self.test_cfg if cfg is None else cfg
        classes, boxes, objectness = (
            flatten_levels(levels, channels)
            for levels, channels in zip(plain, (self.num_classes, 4, 1)))
        objectness = objectness.squeeze(-1).sigmoid()
        boxes = self._bbox_decode(torch.cat(self.priors(plain[0])), boxes)
        best, labels = classes.sigmoid().max(-1)
        scores = best * objectness
        results = []
        for i, meta in enumerate(batch_img_metas):
            positions = (scores[i] >= cfg.score_thr).nonzero().squeeze(1)
            results.append(
                self._bbox_post_process(
                    results=InstanceData(
                        bboxes=boxes[i][positions],
                        scores=scores[i][positions],
                        labels=labels[i][positions],
                        positions=positions),
                    cfg=cfg,
                    rescale=rescale,
                    with_nms=with_nms,
                    img_meta=meta))
        return results
