"""Entropy of the dense class probabilities."""
from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from mmal.registry import TASK_UTILS
from mmal.uncertainty import binary_entropy, categorical_entropy
from .base import DenseScorer, mean_opinion
from .values import DenseValues, dense_values


@TASK_UTILS.register_module()
class EntropyScorer(DenseScorer):
    """The entropy on the classification head.

    With ``classes='joint'``, u_H, the score of ensembles and MC-dropout in
    "Deep Active Learning for Object Detection with Mixture Density Networks"
    (section 4.2): the entropy of each position's class probabilities, averaged
    over the committee where there is one. Softmax heads: of the categorical
    distribution with the background; sigmoid heads: the sum of the classes'
    binary entropies. With ``classes='separate'``, eq. 1 of "Scalable Active
    Learning for Object Detection" at each position and class. In nats.

    Cost: one forward pass without NMS of each member.

    Args:
        aggregation, classes, class_weights: See :class:`DenseScorer`.
    """

    quantity = 'entropy, nats'

    def uncertainty(self, opinions: Iterator[Tensor],
                    num_classes: int) -> DenseValues:
        """Entropies of the mean of the opinions."""
        return dense_values(
            mean_opinion(opinions), num_classes, categorical_entropy,
            binary_entropy)
