"""The loss of predicting which of two images has the higher loss."""
from typing import Optional

from torch import Tensor, nn

from mmal.registry import MODELS
from mmal.uncertainty import at_least_float32
from .reduction import check_reduction, reduce


def pairwise_ranking_loss(pred: Tensor,
                          target: Tensor,
                          margin: float = 1.0) -> Tensor:
    """max(0, -sign(l_i - l_j) (p_i - p_j) + margin), the loss of LLAL.

    Yoo & Kweon, "Learning Loss for Active Learning", CVPR 2019, section 3.3.
    Image i of a batch is paired with image B - 1 - i, so that each is in one
    pair; the middle one of an odd batch is in none. A pair of equal targets
    has no order: its loss is the margin, without a gradient.

    Args:
        pred (Tensor): [B], predicted losses p, of any scale.
        target (Tensor): [B], the losses l; only their order counts and no
            gradient flows to them.
        margin (float): By how much the predictions of a pair must differ.

    Returns:
        Tensor: [B // 2], at least 0, float32 or better.

    Raises:
        ValueError: If the shapes are not [B] both.

    Example:
        >>> import torch
        >>> pred = torch.tensor([0.5, 2.0, 0.0])
        >>> pairwise_ranking_loss(pred, torch.tensor([3.0, 9.0, 1.0]))
        tensor([0.5000])
    """
    if pred.dim() != 1 or pred.shape != target.shape:
        raise ValueError(
            f'predicted losses of shape {tuple(pred.shape)} and targets of '
            f'shape {tuple(target.shape)} must both be [B].')
    pred, pairs = at_least_float32(pred), len(pred) // 2
    partner = target.flip(0)
    # compared, not subtracted: the sign of inf - inf would be NaN
    order = (target > partner).int() - (target < partner).int()
    difference = pred - pred.flip(0)
    return (margin - order[:pairs] * difference[:pairs]).clamp(min=0)


@MODELS.register_module()
class PairwiseRankingLoss(nn.Module):
    """:func:`pairwise_ranking_loss` as a loss of a config.

    Args:
        margin (float): See :func:`pairwise_ranking_loss`, > 0.
        reduction (str): 'none', 'mean' over the pairs (paper) or 'sum'.
        loss_weight (float): λ, the factor of the loss.
    """

    def __init__(self,
                 margin: float = 1.0,
                 reduction: str = 'mean',
                 loss_weight: float = 1.0) -> None:
        super().__init__()
        if margin <= 0:
            raise ValueError(
                f'PairwiseRankingLoss.margin is {margin}, must be > 0: '
                'without it equal predictions would be best.')
        self.margin = margin
        self.reduction = check_reduction(reduction)
        self.loss_weight = loss_weight

    def forward(self,
                pred: Tensor,
                target: Tensor,
                reduction_override: Optional[str] = None) -> Tensor:
        """The reduced loss; 0, still part of the graph, without a pair.

        Args:
            pred (Tensor): [B].
            target (Tensor): [B].
            reduction_override (str, optional): In place of ``reduction``.

        Returns:
            Tensor: A scalar, or [B // 2] for 'none'.
        """
        reduction = check_reduction(reduction_override or self.reduction)
        loss = pairwise_ranking_loss(pred, target, self.margin)
        return self.loss_weight * reduce(loss, reduction=reduction)
