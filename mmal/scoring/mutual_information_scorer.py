"""How much the members of a committee disagree."""
from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from mmal.registry import TASK_UTILS
from mmal.uncertainty import binary_entropy, categorical_entropy
from .dense_scorer import DenseScorer
from .dense_values import DenseValues, dense_values


@TASK_UTILS.register_module()
class MutualInformationScorer(DenseScorer):
    """Mutual information between the class of a position and the member.

    The entropy of the mean of the members' class probabilities minus the mean
    of their entropies (BALD; "Scalable Active Learning for Object Detection",
    eq. 2 and 3, with ``classes='separate'``), with the entropies of
    :class:`EntropyScorer`. In nats; 0 where all members agree.

    Cost: one forward pass without NMS of each member.

    Args:
        aggregation, classes, class_weights: See :class:`DenseScorer`.
    """

    needs_committee = True
    quantity = 'mutual information, nats'

    def uncertainty(self, opinions: Iterator[Tensor],
                    num_classes: int) -> DenseValues:
        """Mutual information; what rounding leaves below 0 is 0."""
        total, members = next(opinions), 1
        sums = _entropies(total, num_classes)
        for probs in opinions:
            total, members = total + probs, members + 1
            added = _entropies(probs, num_classes)
            sums = [a + b for a, b in zip(sums, added)]
        of_mean = _entropies(total / members, num_classes)
        return DenseValues(*[(h - s / members).clamp(min=0)
                             for h, s in zip(of_mean, sums)])


def _entropies(probs: Tensor, num_classes: int) -> DenseValues:
    return dense_values(probs, num_classes, categorical_entropy,
                        binary_entropy)
