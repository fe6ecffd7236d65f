"""The outputs of a single-stage head, and the loss of each image in them."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Optional

import torch
from mmdet.models.dense_heads import FCOSHead
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmal.types import Outputs
from .batch_losses import (
    batch_losses,
    factor_ratios,
    has_factors,
    loss_factors,
    takes_batches,
)


def head_outputs(model: nn.Module, inputs: Tensor) -> Outputs:
    """The raw outputs of the head of a single-stage detector.

    Args:
        model (nn.Module): A single-stage detector.
        inputs (Tensor): [B, 3, H, W].

    Returns:
        tuple[list[Tensor]]: What ``bbox_head.forward`` returns.
    """
    return model.bbox_head(model.extract_feat(inputs))


def image_losses(model: nn.Module,
                 outputs: Outputs,
                 samples: Sequence,
                 labels: Sequence[InstanceData],
                 factors: Optional[Mapping[str, float]] = None) -> Tensor:
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
        factors (mapping[str, float], optional): What divides the losses of
            every image, see :func:`batch_losses`; None: what divides them
            where the image is alone.

    Returns:
        Tensor: [B], the sum of all loss terms with their weights.

    Raises:
        ValueError: Factors are given, but one of them is missing or not
            above zero, or what divides the losses of the head is not known.
    """
    head = model.bbox_head
    if factors is not None and not has_factors(head):
        raise ValueError(
            f'what divides the losses of {type(head).__name__} in training '
            'is not known, so no factors can stand in for it.')
    # the loss of FCOS expects what its forward gives in training mode
    outputs = training_outputs(head, outputs)
    if not samples:
        return torch.zeros(0)
    targets = _targets(samples, labels)
    if takes_batches(head):
        return batch_losses(head, outputs, *targets, factors)
    ratios = {} if factors is None else factor_ratios(
        head, outputs, *targets, factors)
    losses = []
    singles = per_image(outputs, len(samples))
    for n, (single, sample, label) in enumerate(zip(singles, samples,
                                                    labels)):
        terms = head.loss_by_feat(
            *single,
            batch_gt_instances=[label],
            batch_img_metas=[sample.metainfo],
            batch_gt_instances_ignore=ignored_boxes(sample))
        for name, ratio in ratios.items():
            terms[name] = map_outputs(partial(torch.mul, ratio[n]),
                                      terms[name])
        losses.append(model.parse_losses(terms)[0])
    return torch.stack(losses)


def image_factors(
        model: nn.Module, outputs: Outputs, samples: Sequence,
        labels: Sequence[InstanceData]) -> Optional[dict[str, Tensor]]:
    """What images add to the numbers that divide the losses in training.

    Args:
        model, outputs, samples, labels: See :func:`image_losses`. Of the
            outputs only the shapes count: they may be zeros.

    Returns:
        dict[str, Tensor] | None: See :func:`loss_factors`; None if what
        divides the losses of the head is not known.
    """
    if not has_factors(model.bbox_head):
        return None
    return loss_factors(model.bbox_head, outputs, *_targets(samples, labels))


def _targets(samples: Sequence, labels: Sequence[InstanceData]) -> tuple:
    """What :func:`batch_losses` takes after the outputs."""
    return [s.metainfo for s in samples], labels, ignored_by_image(samples)


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


def ignored_by_image(samples: Sequence) -> list[Optional[InstanceData]]:
    """Boxes to leave out as the losses of heads take those of a batch.

    Args:
        samples (sequence[DetDataSample]): B samples.

    Returns:
        list[InstanceData | None]: B sets of boxes, None where a sample has
        none.
    """
    return [(ignored_boxes(sample) or [None])[0] for sample in samples]


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
