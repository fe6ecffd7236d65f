"""Reduce a loss as mmdet does, without NaN for no rows."""
from typing import Optional, Union

from mmdet.models.losses.utils import weight_reduce_loss
from torch import Tensor

REDUCTIONS = ('none', 'mean', 'sum')


def reduce(loss: Tensor,
           weight: Optional[Tensor] = None,
           reduction: str = 'mean',
           avg_factor: Optional[Union[float, Tensor]] = None) -> Tensor:
    """mmdet's ``weight_reduce_loss``, but the mean of no rows is 0.

    Args:
        loss (Tensor): [n] or [n, D].
        weight (Tensor, optional): As many dimensions, each equal or 1.
        reduction (str): 'none', 'mean' or 'sum'.
        avg_factor (float | Tensor, optional): Divisor in place of the number
            of elements; for 'mean' and 'none' only.

    Returns:
        Tensor: A scalar, or the shape of ``loss`` for 'none'.

    Raises:
        ValueError: If the weight does not fit the loss.
    """
    check_weight(loss, weight)
    # a sum of nothing is 0 and part of the graph, which a zero would not be
    if loss.numel() == 0 and reduction == 'mean':
        return loss.sum()
    return weight_reduce_loss(loss, weight, reduction, avg_factor)


def check_weight(loss: Tensor, weight: Optional[Tensor]) -> None:
    """Raise ValueError unless the weight broadcasts to the loss itself."""
    if weight is None:
        return
    fits = weight.dim() == loss.dim() and all(
        w in (1, size) for w, size in zip(weight.shape, loss.shape))
    if not fits:
        raise ValueError(
            f'a loss of shape {tuple(loss.shape)} got weights of shape '
            f'{tuple(weight.shape)}: each dimension must be equal or 1.')


def check_reduction(reduction: str) -> str:
    """The reduction, or a ValueError that lists what there is."""
    if reduction not in REDUCTIONS:
        raise ValueError(f'loss.reduction is {reduction!r}, must be one of '
                         f'{", ".join(REDUCTIONS)}.')
    return reduction
