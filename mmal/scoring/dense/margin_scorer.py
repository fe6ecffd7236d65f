"""How close the two most probable classes are."""
from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from mmal.registry import TASK_UTILS
from mmal.uncertainty import (
    binary_margin_uncertainty,
    categorical_margin_uncertainty,
)
from .base import DenseScorer, mean_opinion
from .values import DenseValues, dense_values


@TASK_UTILS.register_module()
class MarginScorer(DenseScorer):
    """1 minus the margin between the two most probable outcomes, in [0, 1].

    Of the mean of the committee's probabilities where there is one. Softmax
    heads: 1 - (p_1 - p_2) of the classes and the background. Sigmoid heads:
    the outcomes of a class are that it is here (p) and that it is not, so
    1 - abs(2 p - 1), summed over the classes. Their two largest p would be no
    choice between the two: both are near 0 wherever there is no object.

    For sigmoid heads and for ``classes='separate'`` the values are twice
    those of :class:`LeastConfidenceScorer`, and the order of images the same.

    Cost: one forward pass without NMS of each member.

    Args:
        aggregation, classes, class_weights: See :class:`DenseScorer`.
    """

    quantity = '1 - margin'

    def uncertainty(self, opinions: Iterator[Tensor],
                    num_classes: int) -> DenseValues:
        """1 - margin of the mean of the opinions."""
        return dense_values(
            mean_opinion(opinions), num_classes,
            categorical_margin_uncertainty, binary_margin_uncertainty)
