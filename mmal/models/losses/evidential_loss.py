"""How a model evidence head learns: it predicts the class loss."""
from __future__ import annotations

from typing import Optional

from torch import Tensor, nn

from mmal.registry import MODELS

AVERAGES = ('positives', 'anchors')


def predicted_loss_error(pred: Tensor, loss: Tensor, keep: Tensor) -> Tensor:
    """Squared differences of predicted and true losses.

    Args:
        pred (Tensor): [N].
        loss (Tensor): [N]; no gradient reaches it.
        keep (Tensor): bool [N], which of them count.

    Returns:
        Tensor: [N], 0 where ``keep`` is False, whatever ``pred`` is there.

    Raises:
        ValueError: If the shapes differ.
    """
    if not pred.shape == loss.shape == keep.shape:
        raise ValueError(
            f'{tuple(pred.shape)} predictions of {tuple(loss.shape)} losses, '
            f'of which {tuple(keep.shape)} count: give [N] of each.')
    return (pred - loss.detach()).masked_fill(~keep, 0).square()


@MODELS.register_module()
class EvidenceLoss(nn.Module):
    """Of the model evidence head: anchors with a large class loss are those
    that the model has little evidence for.

    Park et al., "Active Learning for Object Detection with Evidential Deep
    Learning and Hierarchical Uncertainty Aggregation", ICLR 2023, as in the
    code that the authors published: :func:`predicted_loss_error` of the
    anchors that are matched with an object.

    Args:
        average (str): What the sum is divided by: 'positives', those anchors
            of the batch, or 'anchors', all anchors of the level, matched or
            not, as in that code. Few are matched, so the second is smaller by
            three to four orders of magnitude; the code has a ``loss_weight``
            of 5 and an optimizer of its own for the head.
        loss_weight (float): Factor, >= 0.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(self,
                 average: str = 'positives',
                 loss_weight: float = 1.0) -> None:
        super().__init__()
        if average not in AVERAGES:
            raise ValueError(f'loss_evidence.average is {average!r}, must be '
                             f'one of {", ".join(AVERAGES)}.')
        if not 0 <= loss_weight < float('inf'):
            raise ValueError(f'loss_evidence.loss_weight is {loss_weight}, '
                             'must be a number of at least 0.')
        self.average = average
        self.loss_weight = loss_weight

    def forward(self,
                pred: Tensor,
                loss: Tensor,
                keep: Tensor,
                avg_factor: Optional[float] = None) -> Tensor:
        """The loss of the anchors of one level.

        Args:
            pred, loss, keep: See :func:`predicted_loss_error`.
            avg_factor (float, optional): Positives of all levels; by default
                those of ``keep``, 1 at least.

        Returns:
            Tensor: A scalar.
        """
        error = predicted_loss_error(pred, loss, keep).sum()
        if self.average == 'anchors':
            number = max(len(pred), 1)
        elif avg_factor is None:
            number = keep.sum().clamp(min=1)
        else:
            number = avg_factor
        return self.loss_weight * error / number
