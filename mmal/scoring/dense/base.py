"""What scorers of dense class probabilities share."""
from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Optional

import torch
from torch import Tensor, nn

from mmal.scoring.base import BaseScorer
from mmal.scoring.batch import Batch
from mmal.scoring.data import ScoringData
from mmal.scoring.detector import dummy_batch, final_head
from mmal.scoring.options import (
    check_choice,
    check_class_number,
    check_class_weights,
)
from .aggregation import AGGREGATIONS, aggregate
from .probabilities import check_dense, member_probabilities, opinion_members
from .roi_probabilities import check_roi, is_two_stage, roi_probabilities
from .values import DenseValues

CLASSES = ('joint', 'separate')


class DenseScorer(BaseScorer):
    """Aggregates an uncertainty of each anchor (point) over the image.

    Of a two-stage detector, of each proposal of the first member; an image
    without a proposal comes last. A subclass writes :meth:`uncertainty`. The
    opinions are those of the run's committee, or the model's own without one;
    one is held at a time.

    Every image's ``class_scores`` are kept, [num_classes]: the same
    aggregation over the positions of each class as a binary variable, without
    weights.

    Args:
        aggregation (str): 'mean', 'max' or 'sum' over the P positions of all
            levels.
        classes (str): 'joint' aggregates one value of each position: of the
            categorical distribution with the background for softmax heads,
            the sum of the classes' binary values for sigmoid heads.
            'separate' aggregates the binary values of all positions and
            classes, whatever the head (Scalable Active Learning for Object
            Detection, eq. 1 and 4).
        class_weights (sequence[float], optional): With 'separate': the value
            of each class is multiplied by its weight, >= 0.

    Raises:
        ValueError: If a key is none of these.
    """

    uses_committee = True
    gives_class_scores = True

    def __init__(self,
                 aggregation: str = 'mean',
                 classes: str = 'joint',
                 class_weights: Optional[Sequence[float]] = None) -> None:
        check_choice('aggregation', aggregation, AGGREGATIONS)
        check_choice('classes', classes, CLASSES)
        if class_weights is not None and classes != 'separate':
            raise ValueError(
                'active_learning.scorer.class_weights multiply the values of '
                'each class, but active_learning.scorer.classes is '
                f"{classes!r}: set it to 'separate'.")
        check_class_weights(class_weights)
        self.aggregation = aggregation
        self.classes = classes
        self.class_weights = class_weights
        self.committee = None

    def check(self, model: nn.Module, data: ScoringData) -> None:
        """See :meth:`BaseScorer.check`."""
        if is_two_stage(model):
            check_roi(model)
        else:
            check_dense(model)
        self.check_classes(final_head(model).num_classes)
        with torch.no_grad():
            opinions, _ = dense_opinions(model, dummy_batch(model, box=False))
            next(opinions)

    def check_classes(self, num_classes: int) -> None:
        """Raise a ValueError unless each class has a weight."""
        check_class_number(self.class_weights, num_classes)

    def prepare(self, model: nn.Module, data: ScoringData) -> None:
        """Take the committee of this round, if there is one."""
        self.committee = data.committee

    def process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Score one batch.

        Returns:
            dict[str, Tensor]: ``score`` [B] and ``class_scores``
            [B, num_classes], float64.
        """
        values, mask = self._values(model, batch)
        of_classes = aggregate(
            values.classes.mT, self.aggregation,
            None if mask is None else mask[:, None].expand(
                -1, values.classes.size(-1), -1))
        if self.classes == 'joint':
            score = aggregate(values.positions, self.aggregation, mask)
            return dict(score=score, class_scores=of_classes)
        # Aggregated over positions already: the mean (maximum, sum) over the
        # classes of it is that over all values, as every class has as many.
        weighted = of_classes
        if self.class_weights is not None:
            weighted = weighted * weighted.new_tensor(self.class_weights)
            nothing = of_classes.isneginf()  # times 0 would be NaN
            weighted = weighted.masked_fill(nothing, -float('inf'))
        return dict(score=aggregate(weighted, self.aggregation),
                    class_scores=of_classes)

    def values(self, model: nn.Module, batch: Batch) -> DenseValues:
        """The values before aggregation.

        Args:
            model (nn.Module): The trained single-stage detector in eval mode.
            batch (Batch): B images.
        """
        return self._values(model, batch)[0]

    def map_values(self,
                   model: nn.Module,
                   batch: Batch,
                   class_index: Optional[int] = None) -> Tensor:
        """The value of each position, for pictures.

        Args:
            model (nn.Module): The trained single-stage detector in eval mode.
            batch (Batch): B images.
            class_index (int, optional): The values of this class alone,
                without its weight. When None those that are aggregated: of
                ``classes='separate'`` the largest of the classes.

        Returns:
            Tensor: [B, P].
        """
        positions, classes = self.values(model, batch)
        if class_index is not None:
            return classes[..., class_index]
        if self.classes == 'joint':
            return positions
        weights = self.class_weights or [1.0] * classes.size(-1)
        return (classes * classes.new_tensor(weights)).amax(-1)

    @torch.no_grad()
    def _values(self, model: nn.Module,
                batch: Batch) -> tuple[DenseValues, Optional[Tensor]]:
        """And which positions count."""
        opinions, mask = dense_opinions(model, batch, self.committee)
        classes = final_head(model).num_classes
        return self.uncertainty(opinions, classes), mask

    @abstractmethod
    def uncertainty(self, opinions: Iterator[Tensor],
                    num_classes: int) -> DenseValues:
        """Say how uncertain each position is.

        Args:
            opinions (iterator[Tensor]): M >= 1 tensors [B, P, C] of class
                probabilities, C = num_classes + 1 for softmax heads.
            num_classes (int): Without the background.
        """


def dense_opinions(
        model: nn.Module,
        batch: Batch,
        committee=None) -> tuple[Iterator[Tensor], Optional[Tensor]]:
    """Class probabilities of each opinion, of one- or two-stage detectors.

    Args:
        model (nn.Module): The detector.
        batch (Batch): B images.
        committee (BaseCommittee, optional): Whose opinions; the model's own
            when None.

    Returns:
        tuple: An iterator of [B, P, C], see :func:`member_probabilities` and
        :func:`~mmal.scoring.dense.roi_probabilities.roi_probabilities`; and
        which positions count, bool [B, P], all when None.
    """
    if not is_two_stage(model):
        return member_probabilities(model, batch, committee), None
    return roi_probabilities(model, batch,
                             opinion_members(model, batch, committee))


def mean_opinion(opinions: Iterator[Tensor]) -> Tensor:
    """The mean of M >= 1 tensors of equal shape, two held at a time."""
    total, members = next(opinions), 1
    for probs in opinions:
        total, members = total + probs, members + 1
    return total / members
