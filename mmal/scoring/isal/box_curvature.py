"""Curvature that a box loss has over a distance, kinks included."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Optional

import torch
from mmdet.models.dense_heads import DETRHead
from mmdet.models.losses import (
    BoundedIoULoss,
    CIoULoss,
    DIoULoss,
    EIoULoss,
    GIoULoss,
    IoULoss,
    L1Loss,
    SIoULoss,
    SmoothL1Loss,
)
from torch import Tensor, nn

from mmal.models.utils.patch_forward import keep_rows, patch_forward

# Take boxes as corners.
OVERLAP_LOSSES = (BoundedIoULoss, CIoULoss, DIoULoss, EIoULoss, GIoULoss,
                  IoULoss, SIoULoss)
# Take what the head regresses, or corners.
DIFFERENCE_LOSSES = (L1Loss, SmoothL1Loss)
# The least side of a box that a step is a share of, in pixels and as a share
# of the image.
LEAST_SIDE = 1e-2
LEAST_SHARE = 1e-4

Steps = Callable[[Tensor], Tensor]


@contextmanager
def box_curvature(model: nn.Module, step: float) -> Iterator[None]:
    """Let the box losses of a detector have the curvature over a distance.

    IoU and L1 losses have a kink where a predicted side meets the label's,
    and trained sides gather there. Between kinks the second derivative of
    such a loss is zero or negative, so that nothing seems to hold the boxes
    in place; over a distance the kinks do. Inside, values of the losses and
    first derivatives by boxes are their own, and the second derivative by a
    box b is

    .. math:: M_{ij} = \\frac{g_i(b + h_j e_j) - g_i(b - h_j e_j)}{2 h_j}

    made symmetric, with g the gradient and h the steps. M_ii is that of the
    loss averaged over steps of at most h_i. Weights count as constants: no
    gradient reaches them. This is ours; ISAL takes the second derivative at
    the point (docs/influence.md compares).

    Affected are the modules of mmdet's IoU-like losses, and L1 and smooth L1
    ones of heads with a ``bbox_coder`` and of DETR's kin, where they take
    boxes [n, 4]. Losses that a head calls as functions (SSD's) or gives other
    shapes are left alone. Of L1 that is not reduced the sums over the sides
    of a box have this curvature. Cost: the loss of 9 boxes more for each
    positive one.

    Args:
        model (nn.Module): The detector.
        step (float): h as a share of the labelled box's width or height, of
            the anchor's for losses of deltas; 0 leaves all as it is.

    Raises:
        ValueError: ``step`` is negative.
    """
    if not step >= 0:
        raise ValueError(f'the step of a box is {step}, must be >= 0.')
    corners = partial(_corner_steps, step)
    steps: dict[nn.Module, Steps] = {}
    for module in model.modules() if step else ():
        for loss in module.children():
            if isinstance(loss, OVERLAP_LOSSES):
                steps[loss] = corners
            elif not isinstance(loss, DIFFERENCE_LOSSES):
                continue
            elif hasattr(module, 'bbox_coder'):
                # Deltas are shares of the anchor, divided by the coder's stds.
                decoded = getattr(module, 'reg_decoded_bbox', False)
                stds = getattr(module.bbox_coder, 'stds', (1., ) * 4)
                steps[loss] = corners if decoded else partial(
                    _delta_steps, step, stds)
            elif isinstance(module, DETRHead):
                steps[loss] = partial(_centre_steps, step)
    with patch_forward({
            loss: keep_rows(
                loss,
                partial(_curved, loss.forward, loss.reduction, of_loss))
            for loss, of_loss in steps.items()
    }):
        yield


def _delta_steps(step: float, stds: Sequence[float],
                 target: Tensor) -> Tensor:
    steps = step / torch.tensor(stds, dtype=target.dtype)
    return steps.to(target.device, non_blocking=True).expand_as(target)


def _centre_steps(step: float, target: Tensor) -> Tensor:
    """For (cx, cy, w, h) as shares of the image."""
    return step * target[:, 2:].clamp(min=LEAST_SHARE).repeat(1, 2)


def _corner_steps(step: float, target: Tensor) -> Tensor:
    sides = (target[:, 2:] - target[:, :2]).clamp(min=LEAST_SIDE)
    return step * sides.repeat(1, 2)


def _curved(forward: Callable,
            own_reduction: str,
            steps: Steps,
            pred: Tensor,
            target: Tensor,
            weight: Optional[Tensor] = None,
            avg_factor: Optional[float] = None,
            reduction_override: Optional[str] = None,
            **kwargs) -> Tensor:
    """A loss of mmdet whose second derivative is M."""
    value = forward(pred, target, weight, avg_factor, reduction_override,
                    **kwargs)
    boxes = pred.dim() == 2 and len(pred) and pred.size(1) == 4
    if not boxes or not pred.requires_grad:
        return value
    # Boxes with a weight: mmdet gives a loss all anchors, most without one.
    keep = torch.arange(len(pred), device=pred.device)
    if weight is not None:
        keep = (weight.reshape(len(pred), -1) > 0).any(1).nonzero().flatten()
    if not len(keep):
        return value

    rows = _Rows(forward, target[keep],
                 weight if weight is None else weight[keep], kwargs)
    first, second = rows.derivatives(pred.detach()[keep], steps)
    # The Taylor polynomial around where the boxes are. The offset is zero, so
    # value and first derivatives are the loss' own, and M is the second one.
    offset = (pred - pred.detach())[keep].to(first)
    slope = first + (second @ offset.unsqueeze(2)).squeeze(2) / 2
    terms = (slope * offset).sum(1).to(value)
    if value.dim() == 2:  # of L1, for each side: the sum of a row is right
        terms = terms[:, None].expand(-1, value.size(1)) / value.size(1)
    if value.dim():
        return value.detach().index_add(0, keep, terms)
    # What mmdet divides a sum over elements by.
    divisor = 1
    if (reduction_override or own_reduction) == 'mean':
        divisor = len(pred) * rows.elements if avg_factor is None else \
            avg_factor + torch.finfo(torch.float32).eps
    return value.detach() + terms.sum() / divisor


class _Rows:
    """The loss of each of n boxes, and its derivatives.

    Attributes:
        elements (int): Elements of the loss of a box, once it is computed.
    """

    def __init__(self, forward: Callable, target: Tensor,
                 weight: Optional[Tensor], kwargs: dict) -> None:
        self.forward = forward
        self.target = _at_least_single(target)
        self.weight = weight
        self.kwargs = kwargs

    def gradients(self, boxes: Tensor) -> Tensor:
        """At boxes [m, n, 4], of the same shape."""
        times = len(boxes)
        leaf = boxes.flatten(0, 1).requires_grad_()
        weight = self.weight
        if weight is not None:
            weight = torch.cat([weight] * times)
        with torch.enable_grad():
            value = self.forward(leaf, torch.cat([self.target] * times),
                                 weight, None, 'none', **self.kwargs)
            gradient, = torch.autograd.grad(value.sum(), leaf)
        self.elements = value.numel() // len(leaf)
        return gradient.view_as(boxes)

    def derivatives(self, boxes: Tensor, steps: Steps) -> tuple[Tensor, ...]:
        """The gradient [n, 4] and M [n, 4, 4]."""
        # Nine places of each box in one pass of the loss: where it is, and a
        # step ahead and behind along each of its four numbers.
        boxes = _at_least_single(boxes)
        h = steps(self.target)
        shifts = torch.diag_embed(h).transpose(0, 1)  # [4, n, 4]
        shifts = torch.cat([torch.zeros_like(shifts[:1]), shifts, -shifts])
        first, ahead, behind = self.gradients(boxes + shifts).split((1, 4, 4))
        second = (ahead - behind) / (2 * h.T.unsqueeze(2))  # [4, n, 4]
        second = second.transpose(0, 1)
        return first[0], (second + second.mT) / 2


def _at_least_single(x: Tensor) -> Tensor:
    return x.float() if x.element_size() < 4 else x
