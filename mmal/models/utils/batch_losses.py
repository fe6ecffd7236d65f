"""The loss of each image of a batch, in one call of the head's own loss.

mmdet divides each loss by a number of the whole batch, so the loss that an
image has alone takes a call for each image, hundreds of small operations
each time. Here the head is called once, for all images, and its loss modules
give what each image adds to the sum, divided by the image's own number.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Optional, Union

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
    return has_factors(head) and all(
        'forward' not in vars(loss) for loss in _losses_of(head).values())


def has_factors(head: nn.Module) -> bool:
    """Whether :func:`loss_factors` knows what divides the losses of a head."""
    return type(head) in _REDUCTIONS and all(
        type(loss) in _LOSSES and loss.reduction == 'mean' and
        not getattr(loss, 'avg_non_ignore', False)
        for loss in _losses_of(head).values()) and isinstance(
            getattr(head, 'sampler', None), (PseudoSampler, type(None)))


def batch_losses(head: nn.Module,
                 outputs: Outputs,
                 metas: Sequence[dict],
                 labels: Sequence[InstanceData],
                 ignored: Sequence[Optional[InstanceData]],
                 factors: Optional[Mapping[str, float]] = None) -> Tensor:
    """The loss of each image as if it were alone in its batch.

    Args:
        head (nn.Module): One that :func:`takes_batches` accepts.
        outputs (Outputs): Of B images, as its loss expects them.
        metas (sequence[dict]): Meta data of B images.
        labels (sequence[InstanceData]): B sets of ``bboxes`` and ``labels``.
        ignored (sequence[InstanceData | None]): B sets of boxes to leave
            out, if any.
        factors (mapping[str, float], optional): What divides each loss of
            every image, in place of the image's own number; keys are those
            of :func:`loss_factors`. With the means of that over a data set,
            the mean of the losses over the data set is what training
            minimises with batches that are large.

    Returns:
        Tensor: [B], the sum of all loss terms with their weights.

    Raises:
        ValueError: A factor is missing, or not above zero.
    """
    reduction = _reduced(head, outputs, metas, labels, ignored, factors)
    total = outputs[0][0].new_zeros(len(metas))
    for name, values in reduction.terms.items():
        if 'loss' in name:  # as BaseModel.parse_losses adds them up
            for value in values if isinstance(values, list) else [values]:
                total = total + value
    return total


@torch.no_grad()
def loss_factors(
        head: nn.Module, outputs: Outputs, metas: Sequence[dict],
        labels: Sequence[InstanceData],
        ignored: Sequence[Optional[InstanceData]]) -> dict[str, Tensor]:
    """What each image adds to the numbers that divide the losses in training.

    mmdet divides each loss of a batch by such a number: the positives of all
    its images, or the sum of their centerness for the boxes of FCOS.

    Args:
        head (nn.Module): One that :func:`has_factors` accepts.
        outputs, metas, labels, ignored: See :func:`batch_losses`. Of the
            outputs only the shapes count.

    Returns:
        dict[str, Tensor]: [B] for each loss module of the head ('loss_cls',
        'loss_bbox', …), 0 for an image without objects. (RetinaNet counts
        such an image as one positive, where training does not leave it out.)
    """
    return _reduced(head, outputs, metas, labels, ignored).own


def factor_ratios(head: nn.Module, outputs: Outputs, metas: Sequence[dict],
                  labels: Sequence[InstanceData],
                  ignored: Sequence[Optional[InstanceData]],
                  factors: Mapping[str, float]) -> dict[str, Tensor]:
    """What turns losses of images alone into losses divided by factors.

    Args:
        head, outputs, metas, labels, ignored: See :func:`loss_factors`.
        factors: See :func:`batch_losses`.

    Returns:
        dict[str, Tensor]: [B] for each loss module of the head: what divides
        the loss of image i alone, over the factor.
    """
    own = loss_factors(head, outputs, metas, labels, ignored)
    least = _REDUCTIONS[type(head)].least
    checked = _checked(factors, least)
    return {name: (number.clamp(min=least[name]) + _EPS) / checked[name]
            for name, number in own.items()}


def _reduced(head: nn.Module,
             outputs: Outputs,
             metas: Sequence[dict],
             labels: Sequence[InstanceData],
             ignored: Sequence[Optional[InstanceData]],
             factors: Optional[Mapping[str, float]] = None) -> _Reduction:
    """The reduction of a head after a call of its loss."""
    reduction = _REDUCTIONS[type(head)](head, outputs, len(metas), factors)
    forwards = {
        loss: partial(getattr(reduction, name), loss.forward)
        for name, loss in _losses_of(head).items()}
    with patch_forward(forwards):
        reduction.terms = head.loss_by_feat(
            *outputs,
            batch_gt_instances=list(labels),
            batch_img_metas=list(metas),
            batch_gt_instances_ignore=list(ignored))
    return reduction


def _checked(factors: Mapping[str, float],
             names: Iterable[str]) -> dict[str, float]:
    """What divides each loss, with the little that mmdet adds."""
    for name in names:
        if not factors.get(name, 0) > 0:
            raise ValueError(
                f"the factor of '{name}' is {factors.get(name)}, but it "
                'divides the loss: give a number above zero, or no factors.')
    return {name: float(factors[name]) + _EPS for name in names}


def _losses_of(head: nn.Module) -> dict[str, nn.Module]:
    return {name: module for name, module in head.named_children()
            if name.startswith('loss_')}


class _Reduction:
    """What each image adds to each loss of a head.

    A method with the name of a loss module stands in for its ``forward``.

    Args:
        head (nn.Module): The head.
        outputs (Outputs): Of B images.
        images (int): B.
        factors (mapping[str, float], optional): See :func:`batch_losses`.

    Attributes:
        least (dict[str, float]): The least that mmdet divides each loss by.
        own (dict[str, Tensor]): [B], see :func:`loss_factors`.
        terms (dict): What the head's loss has returned.
    """
    least: dict[str, float]
    terms: dict

    def __init__(self,
                 head: nn.Module,
                 outputs: Outputs,
                 images: int,
                 factors: Optional[Mapping[str, float]] = None) -> None:
        self.head = head
        self.images = images
        # a head may leave out a loss when there is no object
        self.own = {name: outputs[0][0].new_zeros(images)
                    for name in self.least}
        self.factors = None if factors is None else _checked(
            factors, self.least)

    def divisor(self, name: str) -> Union[Tensor, float]:
        """What divides the sums [B] of a loss."""
        if self.factors is not None:
            return self.factors[name]
        return self.own[name].clamp(min=self.least[name]) + _EPS


class _FCOS(_Reduction):
    """Of FCOS: rows are sorted by level, image and position."""
    least = dict(loss_cls=1., loss_bbox=1e-6, loss_centerness=1.)

    def __init__(self, head: nn.Module, outputs: Outputs, images: int,
                 *args) -> None:
        super().__init__(head, outputs, images, *args)
        self.rows = [images * x[0, 0].numel() for x in outputs[0]]

    def loss_cls(self, forward: Callable, scores: Tensor, labels: Tensor,
                 avg_factor: Tensor) -> Tensor:
        """The positives of an image divide its loss."""
        positive = (labels >= 0) & (labels < self.head.num_classes)
        self.positive = positive.nonzero()[:, 0]
        number = self.sums(positive.to(scores.dtype))
        self.own.update(loss_cls=number, loss_centerness=number)
        each = forward(scores, labels, reduction_override='none')
        # a number for each class, or one of a softmax
        each = each.reshape(len(labels), -1).sum(1)
        return self.sums(each) / self.divisor('loss_cls')

    def loss_bbox(self, forward: Callable, boxes: Tensor, targets: Tensor,
                  weight: Tensor, avg_factor: Tensor) -> Tensor:
        """The centerness of an image's positives divides its loss."""
        self.own['loss_bbox'] = self.at_positives(weight)
        each = forward(boxes, targets, weight=weight,
                       reduction_override='none')
        return self.at_positives(each) / self.divisor('loss_bbox')

    def loss_centerness(self, forward: Callable, logits: Tensor,
                        targets: Tensor, avg_factor: Tensor) -> Tensor:
        """As classes."""
        each = forward(logits, targets, reduction_override='none')
        return self.at_positives(each) / self.divisor('loss_centerness')

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


class _Anchors(_Reduction):
    """Of RetinaNet: a call for each level, rows sorted by image."""
    least = dict(loss_cls=1., loss_bbox=1.)

    def loss_cls(self, forward: Callable, pred: Tensor, *args,
                 **kwargs) -> Tensor:
        """The positives of an image divide its loss."""
        # what the head's get_targets has left of each image
        results = self.head._raw_positive_infos['sampling_results']
        number = pred.new_tensor([len(r.pos_inds) for r in results])
        self.own.update(loss_cls=number, loss_bbox=number)
        return self.loss('loss_cls', forward, pred, *args, **kwargs)

    def loss_bbox(self, *args, **kwargs) -> Tensor:
        """As classes."""
        return self.loss('loss_bbox', *args, **kwargs)

    def loss(self, name: str, forward: Callable, pred: Tensor,
             target: Tensor, weight: Tensor, avg_factor: float) -> Tensor:
        """The loss of a level."""
        each = forward(pred, target, weight, reduction_override='none')
        if not each.dim():
            return each
        return each.reshape(self.images, -1).sum(1) / self.divisor(name)


_REDUCTIONS: dict[type, type[_Reduction]] = {
    FCOSHead: _FCOS,
    RetinaHead: _Anchors,
}
