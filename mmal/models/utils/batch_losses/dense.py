"""The loss of each image of a batch from dense heads."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional

import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmal.types import Outputs
from ..patch_forward import keeps_rows
from .reductions import REDUCTIONS, Reduction, losses_of


def takes_batches(head: nn.Module) -> bool:
    """Whether :func:`batch_losses` knows a head with its losses.

    Heads of mmdet alone: a class derived from one may sum up otherwise. So
    may a loss whose ``forward`` is replaced for a while, see
    :func:`~mmal.models.utils.patch_forward.keep_rows`.
    """
    reduction = REDUCTIONS.get(type(head))
    return reduction is not None and reduction.accepts(head) and all(
        map(keeps_rows, losses_of(head).values()))


def has_factors(head: nn.Module) -> bool:
    """Whether :func:`loss_factors` knows what divides the losses of a head.

    Of YOLOv3 nothing does, and of YOLOX a number that depends on what the
    model predicts.
    """
    reduction = REDUCTIONS.get(type(head))
    return reduction is not None and reduction.has_factors and \
        reduction.accepts(head)


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
    return _reduced(head, outputs, metas, labels, ignored).total(factors)


@torch.no_grad()
def loss_factors(
        head: nn.Module, outputs: Outputs, metas: Sequence[dict],
        labels: Sequence[InstanceData],
        ignored: Sequence[Optional[InstanceData]]) -> dict[str, Tensor]:
    """What each image adds to the numbers that divide the losses in training.

    mmdet divides each loss of a batch by such a number: the positives of all
    its images, or the sum of their centerness for the boxes of FCOS and ATSS.

    Args:
        head (nn.Module): One that :func:`has_factors` accepts.
        outputs, metas, labels, ignored: See :func:`batch_losses`. Of the
            outputs only the shapes count.

    Returns:
        dict[str, Tensor]: [B] for each loss of the head ('loss_cls',
        'loss_bbox', …), 0 for an image without objects. (Heads with anchors
        count such an image as one positive, where training does not leave it
        out.)
    """
    return _reduced(head, outputs, metas, labels, ignored).own


@torch.no_grad()
def factor_ratios(head: nn.Module, outputs: Outputs, metas: Sequence[dict],
                  labels: Sequence[InstanceData],
                  ignored: Sequence[Optional[InstanceData]],
                  factors: Mapping[str, float]) -> dict[str, Tensor]:
    """What turns losses of images alone into losses divided by factors.

    Args:
        head, outputs, metas, labels, ignored: See :func:`loss_factors`.
        factors: See :func:`batch_losses`.

    Returns:
        dict[str, Tensor]: [B] for each loss of the head: what divides the
        loss of image i alone, over the factor.
    """
    reduction = _reduced(head, outputs, metas, labels, ignored)
    checked = reduction.checked(factors)
    return {name: number / checked[name]
            for name, number in reduction.divisors().items()}


def _reduced(head: nn.Module, outputs: Outputs, metas: Sequence[dict],
             labels: Sequence[InstanceData],
             ignored: Sequence[Optional[InstanceData]]) -> Reduction:
    """The reduction of a head after a call of its loss."""
    # half precision would not count beyond 256
    like = outputs[0][0]
    zeros = like.new_zeros(
        len(metas), dtype=torch.promote_types(like.dtype, torch.float32))
    reduction = REDUCTIONS[type(head)](head, zeros)
    reduction.run(
        *outputs,
        batch_gt_instances=list(labels),
        batch_img_metas=list(metas),
        batch_gt_instances_ignore=list(ignored))
    return reduction
