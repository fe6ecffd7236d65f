"""What scorers of dense class probabilities share."""
from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from .aggregation import AGGREGATIONS, aggregate
from .base import BaseScorer
from .data import Batch, ScoringData
from .dense import check_dense, class_probabilities, member_probabilities
from .detections import rehearsal_batch
from .detector import head_outputs
from .options import check_choice


class DenseScorer(BaseScorer):
    """Aggregates an uncertainty of each anchor (point) over the image.

    A subclass writes :meth:`uncertainty`. The opinions are those of the run's
    committee, or the model's own without one; one is held at a time.

    Args:
        aggregation (str): 'mean', 'max' or 'sum' over the P positions of all
            levels.
    """

    def __init__(self, aggregation: str = 'mean') -> None:
        check_choice('aggregation', aggregation, AGGREGATIONS)
        self.aggregation = aggregation
        self.committee = None

    def check(self, model: nn.Module, data: ScoringData) -> None:
        """See :meth:`BaseScorer.check`."""
        check_dense(model)
        with torch.no_grad():
            inputs = rehearsal_batch(model).inputs
            class_probabilities(model, head_outputs(model, inputs))

    def prepare(self, model: nn.Module, data: ScoringData) -> None:
        """Take the committee of this round, if there is one."""
        self.committee = data.committee

    @torch.no_grad()
    def process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """One score for each image of the batch, float64 [B]."""
        opinions = member_probabilities(model, batch, self.committee)
        values = self.uncertainty(opinions, model.bbox_head.num_classes)
        return dict(score=aggregate(values, self.aggregation))

    @abstractmethod
    def uncertainty(self, opinions: Iterator[Tensor],
                    num_classes: int) -> Tensor:
        """Say how uncertain each position is.

        Args:
            opinions (iterator[Tensor]): M >= 1 tensors [B, P, C] of class
                probabilities, C = num_classes + 1 for softmax heads.
            num_classes (int): Without the background.

        Returns:
            Tensor: [B, P].
        """
