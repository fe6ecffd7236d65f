"""Losses of one forward pass of a detection transformer."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models.dense_heads import DeformableDETRHead, DETRHead, DINOHead
from mmdet.models.detectors import DetectionTransformer, GroundingDINO
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmal.scoring.batch import Batch
from mmal.scoring.detector import predictions
from .base import PseudoLabelAdapter

# Heads with a loss of their own are refused; these add terms at most.
LOSSES = tuple(
    head.loss_by_feat for head in (DETRHead, DeformableDETRHead, DINOHead))


class DETRAdapter(PseudoLabelAdapter):
    """DETR, Conditional DETR, DAB-DETR, Deformable DETR and DINO.

    A loss has the terms of all decoder layers, each with a matching of its
    own that is a constant. What exists in training alone does not count: the
    denoising queries of DINO, and the proposals of a two-stage encoder.

    Args:
        model (nn.Module): The detector in eval mode.
        seed (int): Not used.
    """
    image_dim = -3

    @staticmethod
    def accepts(model: nn.Module) -> bool:
        """See :meth:`ModelAdapter.accepts`."""
        if not isinstance(model, DetectionTransformer):
            return False
        return type(model.bbox_head).loss_by_feat in LOSSES and \
            not isinstance(model, GroundingDINO)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Scores [L, B, Q, C] and boxes [L, B, Q, 4] of Q queries.

        L counts decoder layers; boxes are (cx, cy, w, h), relative.
        """
        return self.model(batch.inputs, batch.samples, mode='tensor')

    def predictions(self, outputs, samples) -> list[InstanceData]:
        """See :meth:`PseudoLabelAdapter.predictions`."""
        return predictions(self.model, outputs, samples)

    def image_losses(self, outputs: tuple[Tensor, Tensor], samples: Sequence,
                     labels: Sequence[InstanceData]) -> Tensor:
        """See :meth:`ModelAdapter.image_losses`."""
        losses = []
        for *of_image, sample, label in zip(
                *(o.split(1, dim=1) for o in outputs), samples, labels):
            # The plain head's: other heads add to this what exists in
            # training alone.
            terms = DETRHead.loss_by_feat(
                self.model.bbox_head,
                *of_image,
                batch_gt_instances=[label],
                batch_img_metas=[sample.metainfo])
            losses.append(self.model.parse_losses(terms)[0])
        return torch.stack(losses) if losses else torch.zeros(0)
