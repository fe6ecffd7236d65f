"""One forward pass of a detector, and what can be read from it.

The adaptor between mmdet's single-stage detectors and the influence maths:
predictions and the loss of each image come from the same head outputs.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Optional

import torch
import torch.nn.functional as F
from mmdet.models.losses import FocalLoss
from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmal.models.utils import blank_image
from mmal.models.utils.patch_forward import keep_rows, patch_forward
from mmal.models.utils.per_image import image_losses, map_outputs
from mmal.types import Outputs
from .batch import Batch

# In pixels: far above float32's resolution of coordinates, far below a box.
KINK = 0.01


def dummy_batch(model: nn.Module,
                size: Optional[int] = None,
                box: bool = True) -> Batch:
    """A grey image to try a detector on.

    Args:
        model (nn.Module): The detector; gives the device.
        size (int, optional): Height and width in pixels; by default one that
            the detector takes (SSD has no pixel left of smaller images).
        box (bool): Whether it is labelled with a box.
    """
    inputs, sample = blank_image(model, size)
    if not box:
        del sample.gt_instances
    return Batch(ids=[0], inputs=inputs, samples=[sample])


def final_head(model: nn.Module) -> nn.Module:
    """The head that classifies final detections: of the last stage.

    Raises:
        ValueError: If there is none.
    """
    head = getattr(getattr(model, 'roi_head', model), 'bbox_head', None)
    if head is None:
        raise ValueError(
            f'{type(model).__name__} has neither bbox_head nor '
            'roi_head.bbox_head, which would classify its detections: choose '
            'another active_learning.scorer for it.')
    return head[-1] if isinstance(head, nn.ModuleList) else head


@torch.no_grad()
def predictions(model: nn.Module, outputs: Outputs,
                samples: Sequence) -> list[InstanceData]:
    """Final detections, in the coordinates of the network's input.

    Args:
        model (nn.Module): A single-stage detector.
        outputs (Outputs): From :func:`head_outputs`.
        samples (sequence[DetDataSample]): B samples with meta data.

    Returns:
        list[InstanceData]: ``bboxes``, ``scores`` and ``labels`` of each.
    """
    outputs = map_outputs(lambda t: t.detach(), outputs)
    metas = [s.metainfo for s in samples]
    detections = model.bbox_head.predict_by_feat(
        *outputs, batch_img_metas=metas, rescale=False)
    return [clipped(d, m['img_shape']) for d, m in zip(detections, metas)]


def clipped(detections: InstanceData,
            img_shape: Sequence[int]) -> InstanceData:
    """Detections inside the image: YOLO's loss takes no others as labels."""
    height, width = img_shape[:2]
    x, y = detections.bboxes.unflatten(-1, (2, 2)).unbind(-1)
    detections.bboxes = torch.stack(
        [x.clamp(0, width), y.clamp(0, height)], -1).flatten(-2)
    return detections


def expected_boxes(detections: Sequence[InstanceData]) -> Tensor:
    """How many boxes a person would draw, as far as a detector can tell.

    Args:
        detections (sequence[InstanceData]): B sets with ``scores``.

    Returns:
        Tensor: [B], the sum of the scores of each image's detections, >= 0.
    """
    if not detections:
        return torch.zeros(0)
    return torch.stack([d.scores.sum() for d in detections])


def class_boxes(detections: Sequence[InstanceData],
                num_classes: int) -> Tensor:
    """:func:`expected_boxes` by class.

    Args:
        detections (sequence[InstanceData]): B sets with ``scores`` and
            ``labels``.
        num_classes (int): C, without the background.

    Returns:
        Tensor: [B, C], the sums of the scores of each class, >= 0.
    """
    if not detections:
        return torch.zeros(0, num_classes)
    numbers = torch.arange(num_classes, device=detections[0].scores.device)
    # scatter_add and bincount add in any order on a GPU, and a product of
    # matrices may round to TF32
    return torch.stack([
        (d.scores[:, None] * (d.labels[:, None] == numbers)).sum(0)
        for d in detections])


def pseudo_labels(detections: Sequence[InstanceData],
                  score_thr: float) -> list[InstanceData]:
    """Detections sure enough to stand for labels.

    Args:
        detections (sequence[InstanceData]): B sets of detections.
        score_thr (float): The lowest score that counts.

    Returns:
        list[InstanceData]: B sets of ``bboxes`` [n, 4] and ``labels`` [n];
        boxes as thin as :data:`KINK` are left out.
    """
    return labels_of(detections, [d.scores >= score_thr for d in detections])


def labels_of(detections: Sequence[InstanceData],
              chosen: Sequence[Tensor]) -> list[InstanceData]:
    """Some detections of each image as its labels.

    Args:
        detections (sequence[InstanceData]): B sets of n detections.
        chosen (sequence[Tensor]): B flags [n].

    Returns:
        list[InstanceData]: See :func:`pseudo_labels`.
    """
    keeps = []
    for d, keep in zip(detections, chosen):
        # A thinner box would be turned inside out by the steps off the kinks.
        x1, y1, x2, y2 = d.bboxes.unbind(-1)
        side = torch.minimum(x2 - x1, y2 - y1)
        keeps.append(keep & (side > 4 * KINK))
    # How many are left of each image: all that the host has to wait for, and
    # once. A mask would wait at each use, so those left are sorted forward.
    counts = torch.stack([k.sum() for k in keeps]).tolist() if keeps else []
    labels = []
    for d, keep, count in zip(detections, keeps, counts):
        left = (~keep).to(torch.uint8).argsort(stable=True)[:count]
        labels.append(
            InstanceData(bboxes=d.bboxes[left], labels=d.labels[left]))
    return labels


def pseudo_label_losses(model: nn.Module, outputs: Outputs, samples: Sequence,
                        labels: Sequence[InstanceData],
                        losses: Callable = image_losses,
                        at_once: bool = False) -> Tensor:
    """:func:`image_losses` with detections as labels, made differentiable.

    A position whose own box became the label sits on the kink of an IoU or L1
    loss, where the gradient's sign is that of a rounding error. The mean of
    the losses for labels moved a little (:data:`KINK`) one way and the other
    has the mean of the two one-sided derivatives there, which is zero, and
    the same derivative up to second order elsewhere. The sides move by
    different steps, so that centre, width and height move too.

    Args:
        model, outputs, samples, labels: See :func:`image_losses`.
        losses (callable): Of another kind of detector, called like it.
        at_once (bool): Whether ``losses`` takes the labels moved one way and
            then those moved the other way, 2B sets, and gives [2B].

    Returns:
        Tensor: [B].
    """
    both = []
    for step in (KINK, -KINK):
        moved = []
        for label in labels:
            first, second = label.bboxes.split(2, dim=-1)
            moved.append(InstanceData(
                bboxes=torch.cat(
                    [first - 0.5 * step, second + 1.5 * step], -1),
                labels=label.labels))
        both.append(moved)
    if at_once:
        one, other = losses(model, outputs, samples, sum(both, [])).chunk(2)
    else:
        one, other = (losses(model, outputs, samples, m) for m in both)
    return (one + other) / 2


@contextmanager
def twice_differentiable(model: nn.Module) -> Iterator[None]:
    """Let the focal losses of a detector be differentiated twice inside.

    mmcv's compiled focal loss, which mmdet takes on GPUs, has no second
    derivative; the same formula in torch operations has.
    """
    # Not of subclasses, which may compute something else.
    losses = [m for m in model.modules() if type(m) is FocalLoss]
    with patch_forward({x: keep_rows(x, partial(_focal_loss, x))
                        for x in losses}):
        yield


def _focal_loss(loss: FocalLoss,
                pred: Tensor,
                target: Tensor,
                weight: Optional[Tensor] = None,
                avg_factor: Optional[float] = None,
                reduction_override: Optional[str] = None) -> Tensor:
    """:meth:`FocalLoss.forward` as on the CPU."""
    # Heads give class numbers, the background last, or one-hot rows.
    if pred.dim() != target.dim():
        classes = pred.size(1)
        target = F.one_hot(target, num_classes=classes + 1)[:, :classes]
    return loss.loss_weight * py_sigmoid_focal_loss(
        pred,
        target,
        weight,
        gamma=loss.gamma,
        alpha=loss.alpha,
        reduction=reduction_override or loss.reduction,
        avg_factor=avg_factor)
