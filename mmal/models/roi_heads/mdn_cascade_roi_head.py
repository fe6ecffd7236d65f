"""Cascade R-CNN whose stages have mixtures of Gaussians."""
from __future__ import annotations

import torch
from mmdet.models.roi_heads import CascadeRoIHead
from torch import Tensor

from mmal.registry import MODELS
from .mdn_bbox_head import MDNShared2FCBBoxHead, StageScores


@MODELS.register_module()
class MDNCascadeRoIHead(CascadeRoIHead):
    """mmdet's ``CascadeRoIHead`` for stages with mixtures.

    Each stage passes the mean boxes on to the next. As in mmdet the logits of
    the stages are averaged; those of a mixture are the logarithms of its
    mixed probabilities. A detection's uncertainties are those of the last
    stage, its proposals taken as certain. Stages without components detect
    exactly what mmdet's do.

    Args:
        *args: See mmdet's ``CascadeRoIHead``.
        **kwargs: See there. ``bbox_head`` is a
            ``mmal.MDNShared2FCBBoxHead`` for each stage.

    Raises:
        ValueError: If a stage has another box head.
    """

    def init_bbox_head(self, bbox_roi_extractor, bbox_head) -> None:
        """See mmdet's; all stages must have mixtures' heads."""
        super().init_bbox_head(bbox_roi_extractor, bbox_head)
        for stage, head in enumerate(self.bbox_head):
            if not isinstance(head, MDNShared2FCBBoxHead):
                raise ValueError(
                    f'roi_head.bbox_head[{stage}].type is '
                    f"{type(head).__name__}: set it to "
                    "'mmal.MDNShared2FCBBoxHead', or roi_head.type to "
                    "'CascadeRoIHead'. A stage without mixtures has "
                    'cls_components=0 and box_components=0.')
            head.is_stage = True

    def _refine_roi(self, x: tuple[Tensor, ...], rois: Tensor,
                    batch_img_metas: list[dict],
                    num_proposals_per_img: tuple[int, ...]) -> tuple:
        """See mmdet's; the scores of an image are :class:`StageScores`."""
        logits = []
        for stage, head in enumerate(self.bbox_head):
            outputs = self._bbox_forward(stage, x, rois)
            raw, boxes = outputs['cls_score'], outputs['bbox_pred']
            logits.append(head.class_logits(raw))
            if stage == self.num_stages - 1:
                break
            scores = logits[-1]
            if head.custom_activation:  # of a loss like Seesaw's
                scores = head.loss_cls.get_activation(scores)
            # image by image: each ends elsewhere
            refined = [
                head.regress_by_class(*parts, meta) for *parts, meta in zip(
                    rois[:, 1:].split(num_proposals_per_img),
                    scores[:, :-1].argmax(1).split(num_proposals_per_img),
                    boxes.split(num_proposals_per_img), batch_img_metas)
            ]
            rois = torch.cat([rois[:, :1], torch.cat(refined)], 1)
        mean = sum(logits) / len(logits)
        scores = [
            StageScores(*parts) for parts in zip(
                mean.split(num_proposals_per_img),
                raw.split(num_proposals_per_img))
        ]
        return (rois.split(num_proposals_per_img), scores,
                boxes.split(num_proposals_per_img))
