"""Entropy of the dense class probabilities."""
from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from mmal.registry import TASK_UTILS
from .dense import class_entropy
from .dense_scorer import DenseScorer


@TASK_UTILS.register_module()
class EntropyScorer(DenseScorer):
    """The average entropy on the classification head.

    u_H, the score of ensembles and MC-dropout in "Deep Active Learning for
    Object Detection with Mixture Density Networks" (section 4.2): the entropy
    of each position's class probabilities, averaged over the committee where
    there is one. Softmax heads: of the categorical distribution with the
    background; sigmoid heads: the sum of the classes' binary entropies. In
    nats.

    Cost: one forward pass without NMS of each member.

    Args:
        aggregation (str): 'mean' (paper), 'max' or 'sum' over all positions.
    """

    def uncertainty(self, opinions: Iterator[Tensor],
                    num_classes: int) -> Tensor:
        """Entropy of the mean of the opinions, [B, P]."""
        total, members = next(opinions), 1
        for probs in opinions:
            total, members = total + probs, members + 1
        return class_entropy(total / members, num_classes)
