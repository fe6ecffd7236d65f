"""Curvature that a box loss has over a distance, kinks included."""
from __future__ import annotations

from collections.abc import Callable, Iterator
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

from mmal.models.utils.patch_forward import patch_forward

# take boxes as corners
OVERLAP_LOSSES = (BoundedIoULoss, CIoULoss, DIoULoss, EIoULoss, GIoULoss,
                  IoULoss, SIoULoss)
# take what the head regresses, or corners
DIFFERENCE_LOSSES = (L1Loss, SmoothL1Loss)
# the least side of a box that a step is a share of, in pixels and as a share
# of the image
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
    shapes are left alone, and so is L1 that is not reduced. Cost: the loss of
    9 boxes more for each positive one.

    Args:
        model (nn.Module): The detector.
        step (float): h as a share of the labelled box's width or height, of
            the anchor's for losses of deltas; 0 leaves all as it is.

    Raises:
        ValueError: ``step`` is negative.
    """
    if not step >= 0:
        raise ValueError(f'the step of a box is {step}, must be >= 0.')
    losses = dict(_box_losses(model, step)) if step else {}
    with patch_forward({
            loss: partial(_curved, loss.forward, loss.reduction, steps)
            for loss, steps in losses.items()
    }):
        yield


def _box_losses(model: nn.Module,
                step: float) -> Iterator[tuple[nn.Module, Steps]]:
    """Losses to change, each with its steps h."""
    for module in model.modules():
        for loss in module.children():
            if isinstance(loss, OVERLAP_LOSSES):
                yield loss, partial(_corner_steps, step)
            elif isinstance(loss, DIFFERENCE_LOSSES) and hasattr(
                    module, 'bbox_coder'):
                yield loss, _difference_steps(module, step)
            elif isinstance(loss, DIFFERENCE_LOSSES) and isinstance(
                    module, DETRHead):
                yield loss, partial(_centre_steps, step)


def _difference_steps(head: nn.Module, step: float) -> Steps:
    if getattr(head, 'reg_decoded_bbox', False):
        return partial(_corner_steps, step)
    stds = getattr(head.bbox_coder, 'stds', (1., ) * 4)
    return lambda target: (step / target.new_tensor(stds)).expand_as(target)


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
    if not boxes or value.dim() > 1 or not pred.requires_grad:
        return value
    keep = _counted(pred, weight)
    if not len(keep):
        return value
    rows = _Rows(forward, target[keep],
                 weight if weight is None else weight[keep], kwargs)
    first, second = rows.derivatives(pred.detach()[keep], steps)
    moved = (pred - pred.detach())[keep].to(first)
    slope = first + (second @ moved.unsqueeze(2)).squeeze(2) / 2
    terms = (slope * moved).sum(1).to(value)
    if value.dim():
        return value.detach().index_add(0, keep, terms)
    return value.detach() + terms.sum() / _divisor(
        reduction_override or own_reduction, len(pred) * rows.elements,
        avg_factor)


def _counted(pred: Tensor, weight: Optional[Tensor]) -> Tensor:
    """Indices of the boxes with a weight."""
    if weight is None:
        return torch.arange(len(pred), device=pred.device)
    return (weight.reshape(len(pred), -1) > 0).any(1).nonzero().flatten()


def _divisor(reduction: str, elements: int,
             avg_factor: Optional[float]) -> float:
    """What mmdet divides a sum over elements by."""
    if reduction != 'mean':
        return 1
    if avg_factor is None:
        return elements
    return avg_factor + torch.finfo(torch.float32).eps


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
            found, = torch.autograd.grad(value.sum(), leaf)
        self.elements = value.numel() // len(leaf)
        return found.view_as(boxes)

    def derivatives(self, boxes: Tensor, steps: Steps) -> tuple[Tensor, ...]:
        """The gradient [n, 4] and M [n, 4, 4]."""
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
