"""Which labelled box each row of a dense head is trained on."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models.dense_heads import ATSSHead, FCOSHead, RetinaHead
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmal.types import Outputs
from .batch_losses import takes_batches
from .patch_forward import patch_forward
from .per_image import ignored_by_image, training_outputs

_HEADS = (FCOSHead, ATSSHead, RetinaHead)


def assigns_boxes(head: nn.Module) -> bool:
    """Whether :func:`assigned_boxes` knows a head: each row of its losses
    belongs to one box at most."""
    return type(head) in _HEADS and takes_batches(head)


@torch.no_grad()
def assigned_boxes(head: nn.Module, outputs: Outputs, samples: Sequence,
                   labels: Sequence[InstanceData]) -> list[Tensor]:
    """The box of each row, by the head's own rules.

    The head is called with each box as a class of its own, so what it gives
    its loss as the class of a row is the box. All these classes lie beyond
    the background's: no row counts as one with an object.

    Args:
        head (nn.Module): One that :func:`assigns_boxes` accepts.
        outputs (Outputs): What it returned for B images. Only the shapes
            count.
        samples (sequence[DetDataSample]): B samples with meta data.
        labels (sequence[InstanceData]): B sets of ``bboxes`` and ``labels``.

    Returns:
        list[Tensor]: int64 [B, H · W · A] for each level, with A anchors at a
        position (FCOS: 1) side by side; -1 where there is no box.
    """
    first = head.num_classes + 1
    numbered = [InstanceData(
        bboxes=label.bboxes, labels=first + torch.arange(
            len(label.bboxes), device=label.bboxes.device))
        for label in labels]
    classes = []

    def watch(scores: Tensor, targets: Tensor, *args, **kwargs) -> Tensor:
        classes.append(targets.flatten())
        return scores.new_zeros(())

    with patch_forward({head.loss_cls: watch}):
        head.loss_by_feat(
            *training_outputs(head, outputs),
            batch_gt_instances=numbered,
            batch_img_metas=[s.metainfo for s in samples],
            batch_gt_instances_ignore=ignored_by_image(samples))
    # FCOS has one call, the others one for each level; all lie by level,
    # image and position
    rows = [x[:, 0].numel() * head.num_base_priors for x in outputs[0]]
    boxes = torch.cat(classes) - first
    return [level.clamp(min=-1).view(len(samples), -1)
            for level in boxes.split(rows)]
