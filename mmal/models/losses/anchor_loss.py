"""Anchor loss: a cross entropy scaled by the difficulty of a prediction."""
from typing import Optional, Union

import torch.nn.functional as F
from torch import Tensor, nn

from mmal.registry import MODELS
from mmal.uncertainty import at_least_float32
from .elements import full_weight, is_counted, is_own_class
from .reduction import check_reduction, reduce


def anchor_loss(pred: Tensor,
                target: Tensor,
                gamma: float = 0.5,
                slack: float = 0.05) -> Tensor:
    """-p log q - (1 - p) (1 + q - q*)^γ log(1 - q), for every class.

    Ryou, Jeong & Perona, "Anchor Loss: Modulating Loss Scale Based on
    Prediction Difficulty", ICCV 2019, in its form for sigmoids. The anchor q*
    is the score of the row's own class less δ, without a gradient: classes
    that come near it or are above it weigh more, others less. A row of no
    class belongs to the background, whose score is 1 - max q; so a single
    objectness is a choice between two classes. γ = 0 is the cross entropy.

    Args:
        pred (Tensor): Logits [..., C], q = sigmoid(pred).
        target (Tensor): p in [0, 1], the same shape. Classes with p > 0.5
            are the row's own; of several the lowest score counts.
        gamma (float): γ >= 0.
        slack (float): δ in [0, 1].

    Returns:
        Tensor: [..., C], >= 0, float32 or better.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[0., 2., -9.]])
        >>> anchor_loss(logits, torch.tensor([[1., 0., 0.]]))
        tensor([[6.9315e-01, 2.5441e+00, 9.1528e-05]])
    """
    if pred.shape != target.shape:
        raise ValueError(
            f'logits of shape {tuple(pred.shape)} and targets of shape '
            f'{tuple(target.shape)} must be equal in shape ([..., C]).')
    pred = at_least_float32(pred)
    target = target.to(pred.dtype)
    anchor = anchor_score(pred.detach(), target, slack)
    return modulated_cross_entropy(pred, target, anchor, gamma)


def anchor_score(pred: Tensor, target: Tensor, slack: float) -> Tensor:
    """q* [..., 1] in [0, 1] of rows of logits, see :func:`anchor_loss`."""
    if pred.shape[-1] == 0:  # amax of nothing is an error
        return pred.new_zeros((*pred.shape[:-1], 1))
    own = is_own_class(pred, target)
    background = (-pred.amax(dim=-1, keepdim=True)).sigmoid()
    # 1 takes the others out of the minimum, as no score is above it
    lowest = pred.sigmoid().masked_fill(~own, 1).amin(dim=-1, keepdim=True)
    score = lowest.where(own.any(dim=-1, keepdim=True), background)
    return (score - slack).clamp(min=0)


def modulated_cross_entropy(pred: Tensor, target: Tensor, anchor: Tensor,
                            gamma: float) -> Tensor:
    """:func:`anchor_loss` for given anchors q*, [..., 1] or [..., C]."""
    # the least value keeps the derivative of a root finite
    factor = (1 + pred.sigmoid() - anchor).clamp(min=1e-6).pow(gamma)
    return (target * F.softplus(-pred) +
            (1 - target) * factor * F.softplus(pred))


@MODELS.register_module()
class AnchorLoss(nn.Module):
    """:func:`anchor_loss` as a loss of a config, called as mmdet's FocalLoss.

    Args:
        use_sigmoid (bool): Must be given as True: a head reads it from the
            config, and without it makes outputs for a softmax.
        gamma (float): γ >= 0; the paper's 0.5 for images.
        slack (float): δ in [0, 1].
        objectness (bool): Whether every element of ``pred`` is the single
            objectness of an anchor, whatever the shape, as ``loss_conf`` of
            YOLOV3Head has it; otherwise the last dimension is the classes.
        reduction (str): 'none', 'mean' or 'sum'.
        loss_weight (float): Factor of the loss.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self,
                 use_sigmoid: bool = False,
                 gamma: float = 0.5,
                 slack: float = 0.05,
                 objectness: bool = False,
                 reduction: str = 'mean',
                 loss_weight: float = 1.0) -> None:
        super().__init__()
        if not use_sigmoid:
            raise ValueError('AnchorLoss.use_sigmoid is False: write '
                             'use_sigmoid=True beside its type, where the '
                             'head looks for it; without it a head makes '
                             'outputs for a softmax.')
        if gamma < 0:
            raise ValueError(f'AnchorLoss.gamma is {gamma}, must be >= 0.')
        if not 0 <= slack <= 1:
            raise ValueError(
                f'AnchorLoss.slack is {slack}, must be in [0, 1].')
        self.use_sigmoid = use_sigmoid
        self.gamma = gamma
        self.slack = slack
        self.objectness = objectness
        self.reduction = check_reduction(reduction)
        self.loss_weight = loss_weight

    def forward(self,
                pred: Tensor,
                target: Tensor,
                weight: Optional[Tensor] = None,
                avg_factor: Optional[Union[float, Tensor]] = None,
                reduction_override: Optional[str] = None) -> Tensor:
        """The reduced loss.

        Args:
            pred (Tensor): Logits [..., C].
            target (Tensor): Labels [...], of which those above C - 1 are
                background, or [..., C]. Negative ones are left out.
            weight (Tensor, optional): [...], [..., 1] or [..., C].
            avg_factor (float | Tensor, optional): Divisor for 'mean'.
            reduction_override (str, optional): In place of ``reduction``.

        Returns:
            Tensor: A scalar, or the shape of ``pred`` for 'none'.
        """
        reduction = check_reduction(reduction_override or self.reduction)
        weight = full_weight(pred, weight) * is_counted(pred, target)
        if target.dim() < pred.dim():
            target = is_own_class(pred, target)
        if self.objectness:  # each element is the only class of its row
            pred, target = pred[..., None], target[..., None]
        loss = anchor_loss(pred, target, self.gamma, self.slack)
        if self.objectness:
            loss = loss.squeeze(-1)
        return reduce(self.loss_weight * loss, weight, reduction, avg_factor)
