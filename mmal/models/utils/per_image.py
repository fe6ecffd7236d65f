"""The outputs of a single-stage head, and the loss of each image in them."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import torch
from mmdet.models.dense_heads import FCOSHead
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmal.types import Outputs
from .batch_losses import batch_losses, takes_batches


def head_outputs(model: nn.Module, inputs: Tensor) -> Outputs:
    """The raw outputs of the head of a single-stage detector.

    Args:
        model (nn.Module): A single-stage detector.
        inputs (Tensor): [B, 3, H, W].

    Returns:
        tuple[list[Tensor]]: What ``bbox_head.forward`` returns.
    """
    return model.bbox_head(model.extract_feat(inputs))


def image_losses(model: nn.Module, outputs: Outputs, samples: Sequence,
                 labels: Sequence[InstanceData]) -> Tensor:
    """The loss of each image as if it were alone in its batch.

    mmdet divides a loss by the positives of the whole batch, so each image's
    slice of the outputs goes through the head's loss on its own; the forward
    pass is shared. Of heads that :func:`batch_losses` knows all images go
    through it at once.

    Args:
        model (nn.Module): A single-stage detector.
        outputs (Outputs): From :func:`head_outputs`, B images, in the mode
            (training or eval) that the head is still in.
        samples (sequence[DetDataSample]): B samples with meta data.
        labels (sequence[InstanceData]): B sets of ``bboxes`` and ``labels``.

    Returns:
        Tensor: [B], the sum of all loss terms with their weights.
    """
    # the loss of FCOS expects what its forward gives in training mode
    outputs = training_outputs(model.bbox_head, outputs)
    if samples and takes_batches(model.bbox_head):
        return batch_losses(
            model.bbox_head, outputs, [s.metainfo for s in samples], labels,
            [(ignored_boxes(s) or [None])[0] for s in samples])
    losses = []
    singles = per_image(outputs, len(samples))
    for single, sample, label in zip(singles, samples, labels):
        terms = model.bbox_head.loss_by_feat(
            *single,
            batch_gt_instances=[label],
            batch_img_metas=[sample.metainfo],
            batch_gt_instances_ignore=ignored_boxes(sample))
        losses.append(model.parse_losses(terms)[0])
    return torch.stack(losses) if losses else torch.zeros(0)


def training_outputs(head: nn.Module, outputs: Outputs) -> Outputs:
    """Outputs of a head as its loss expects them.

    FCOS with ``norm_on_bbox`` multiplies its distances by the stride in eval
    mode only. In training mode the outputs are returned as they are, and
    those of heads with a true ``same_outputs_in_eval`` always.
    """
    same = getattr(head, 'same_outputs_in_eval', False)
    if head.training or same or not isinstance(head, FCOSHead):
        return outputs
    if head.norm_on_bbox:
        cls_scores, bbox_preds, *others = outputs
        bbox_preds = [b / s for b, s in zip(bbox_preds, head.strides)]
        return (cls_scores, bbox_preds, *others)
    return outputs


def ignored_boxes(sample) -> Optional[list[InstanceData]]:
    """A sample's boxes to leave out as the losses of heads take them."""
    ignored = getattr(sample, 'ignored_instances', None)
    # without annotations it is there, but has no boxes
    if ignored is None or 'bboxes' not in ignored:
        return None
    return [ignored]


def per_image(outputs: Any, batch: int) -> list:
    """Nested outputs of a batch of B images as B nested outputs of one.

    ``Tensor.split`` rather than slices: its backward is one concatenation.
    """
    if torch.is_tensor(outputs):
        return outputs.split(1)
    if isinstance(outputs, (list, tuple)):
        singles = [per_image(o, batch) for o in outputs]
        return [type(outputs)(s[i] for s in singles) for i in range(batch)]
    return [outputs] * batch


def map_outputs(fn, outputs: Any) -> Any:
    """Nested outputs with a function applied to every tensor."""
    if torch.is_tensor(outputs):
        return fn(outputs)
    if isinstance(outputs, (list, tuple)):
        return type(outputs)(map_outputs(fn, o) for o in outputs)
    if isinstance(outputs, dict):
        return {name: map_outputs(fn, o) for name, o in outputs.items()}
    return outputs
