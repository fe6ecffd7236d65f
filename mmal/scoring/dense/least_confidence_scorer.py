"""How far the most probable class is from certain."""
from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from mmal.registry import TASK_UTILS
from mmal.uncertainty import (
    binary_least_confidence,
    categorical_least_confidence,
)
from .base import DenseScorer, mean_opinion
from .values import DenseValues, dense_values


@TASK_UTILS.register_module()
class LeastConfidenceScorer(DenseScorer):
    """1 minus the probability of the most probable outcome.

    Of the mean of the committee's probabilities where there is one. Softmax
    heads: 1 - max p of the classes and the background. Sigmoid heads: the
    outcomes of a class are that it is here (p) and that it is not, so
    min(p, 1 - p), summed over the classes.

    Cost: one forward pass without NMS of each member.

    Args:
        aggregation, classes, class_weights: See :class:`DenseScorer`.
    """

    quantity = '1 - confidence'

    def uncertainty(self, opinions: Iterator[Tensor],
                    num_classes: int) -> DenseValues:
        """1 - the largest probability of the mean of the opinions."""
        return dense_values(
            mean_opinion(opinions), num_classes, categorical_least_confidence,
            binary_least_confidence)
