"""The loss of each image of a batch, in one call of the head's own loss.

mmdet divides each loss by a number of the whole batch, so the loss that an
image has alone takes a call for each image, hundreds of small operations
each time. Here the head is called once, for all images, and its loss modules
give what each image adds to the sum, divided by the image's own number.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Optional

import torch
from mmdet.models.dense_heads import FCOSHead, RetinaHead
from mmdet.models.losses import (
    CIoULoss,
    CrossEntropyLoss,
    DIoULoss,
    FocalLoss,
    GIoULoss,
    IoULoss,
    L1Loss,
    SmoothL1Loss,
)
from mmdet.models.task_modules.samplers import PseudoSampler
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmal.types import Outputs
from .patch_forward import patch_forward

# Modules of which 'none' as the reduction gives a number for each row, or a
# zero without a shape where no row has weight.
_LOSSES = (FocalLoss, CrossEntropyLoss, GIoULoss, IoULoss, DIoULoss, CIoULoss,
           L1Loss, SmoothL1Loss)
_EPS = torch.finfo(torch.float32).eps  # as mmdet adds it to what it divides by


def takes_batches(head: nn.Module) -> bool:
    """Whether :func:`batch_losses` knows a head with its losses.

    Heads of mmdet alone: a class derived from one may sum up otherwise. So
    may a loss whose ``forward`` is replaced for a while.
    """
    return type(head) in _REDUCTIONS and all(
        type(loss) in _LOSSES and loss.reduction == 'mean' and
        'forward' not in vars(loss) and
        not getattr(loss, 'avg_non_ignore', False)
        for loss in _losses_of(head).values()) and isinstance(
            getattr(head, 'sampler', None), (PseudoSampler, type(None)))


def batch_losses(head: nn.Module, outputs: Outputs, metas: Sequence[dict],
                 labels: Sequence[InstanceData],
                 ignored: Sequence[Optional[InstanceData]]) -> Tensor:
    """The loss of each image as if it were alone in its batch.

    Args:
        head (nn.Module): One that :func:`takes_batches` accepts.
        outputs (Outputs): Of B images, as its loss expects them.
        metas (sequence[dict]): Meta data of B images.
        labels (sequence[InstanceData]): B sets of ``bboxes`` and ``labels``.
        ignored (sequence[InstanceData | None]): B sets of boxes to leave
            out, if any.

    Returns:
        Tensor: [B], the sum of all loss terms with their weights.
    """
    reduction = _REDUCTIONS[type(head)](head, outputs, len(metas))
    forwards = {
        loss: partial(getattr(reduction, name), loss.forward)
        for name, loss in _losses_of(head).items()}
    with patch_forward(forwards):
        terms = head.loss_by_feat(
            *outputs,
            batch_gt_instances=list(labels),
            batch_img_metas=list(metas),
            batch_gt_instances_ignore=list(ignored))
    total = outputs[0][0].new_zeros(len(metas))
    for name, values in terms.items():
        if 'loss' in name:  # as BaseModel.parse_losses adds them up
            for value in values if isinstance(values, list) else [values]:
                total = total + value
    return total


def _losses_of(head: nn.Module) -> dict[str, nn.Module]:
    return {name: module for name, module in head.named_children()
            if name.startswith('loss_')}


class _FCOS:
    """Reductions of FCOS: rows are sorted by level, image and position.

    Args:
        head (nn.Module): The head.
        outputs (Outputs): Of B images.
        images (int): B.
    """

    def __init__(self, head: nn.Module, outputs: Outputs,
                 images: int) -> None:
        self.num_classes = head.num_classes
        self.images = images
        self.rows = [images * x[0, 0].numel() for x in outputs[0]]

    def loss_cls(self, forward: Callable, scores: Tensor, labels: Tensor,
                 avg_factor: Tensor) -> Tensor:
        """The positives of an image divide its loss."""
        positive = (labels >= 0) & (labels < self.num_classes)
        self.positive = positive.nonzero()[:, 0]
        self.number = self.sums(positive.to(scores.dtype)).clamp(min=1)
        each = forward(scores, labels, reduction_override='none')
        # a number for each class, or one of a softmax
        each = each.reshape(len(labels), -1).sum(1)
        return self.sums(each) / (self.number + _EPS)

    def loss_bbox(self, forward: Callable, boxes: Tensor, targets: Tensor,
                  weight: Tensor, avg_factor: Tensor) -> Tensor:
        """The centerness of an image's positives divides its loss."""
        each = forward(boxes, targets, weight=weight,
                       reduction_override='none')
        return self.at_positives(each) / (
            self.at_positives(weight).clamp(min=1e-6) + _EPS)

    def loss_centerness(self, forward: Callable, logits: Tensor,
                        targets: Tensor, avg_factor: Tensor) -> Tensor:
        """As classes."""
        each = forward(logits, targets, reduction_override='none')
        return self.at_positives(each) / (self.number + _EPS)

    def at_positives(self, values: Tensor) -> Tensor:
        """Sums [B] of what the positives have, [P]."""
        if not values.dim():
            return values
        # Put in their places rather than added up by image: so the order of
        # a sum is the same each time on a GPU too.
        every = values.new_zeros(sum(self.rows))
        return self.sums(every.index_put((self.positive, ), values))

    def sums(self, values: Tensor) -> Tensor:
        """Sums [B] of what all rows have."""
        return sum(part.view(self.images, -1).sum(1)
                   for part in values.split(self.rows))


class _Anchors:
    """Reductions of RetinaNet: a call for each level, rows sorted by image.

    Args:
        head (nn.Module): The head.
        outputs (Outputs): Of B images.
        images (int): B.
    """

    def __init__(self, head: nn.Module, outputs: Outputs,
                 images: int) -> None:
        self.head = head
        self.images = images
        self.factors: Optional[Tensor] = None

    def loss_cls(self, forward: Callable, pred: Tensor, target: Tensor,
                 weight: Tensor, avg_factor: float) -> Tensor:
        """The positives of an image divide its loss."""
        if self.factors is None:
            # what the head's get_targets has left of each image
            found = self.head._raw_positive_infos['sampling_results']
            self.factors = pred.new_tensor([r.avg_factor for r in found])
        each = forward(pred, target, weight, reduction_override='none')
        if not each.dim():
            return each
        return each.reshape(self.images, -1).sum(1) / (self.factors + _EPS)

    loss_bbox = loss_cls


_REDUCTIONS: dict[type, type] = {FCOSHead: _FCOS, RetinaHead: _Anchors}
