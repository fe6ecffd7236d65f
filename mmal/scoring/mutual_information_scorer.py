"""How much the members of a committee disagree."""
from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from mmal.registry import TASK_UTILS
from .dense import class_entropy
from .dense_scorer import DenseScorer


@TASK_UTILS.register_module()
class MutualInformationScorer(DenseScorer):
    """Mutual information between the class of a position and the member.

    The entropy of the mean of the members' class probabilities minus the mean
    of their entropies (BALD), with the entropies of :class:`EntropyScorer`. In
    nats; 0 where all members agree.

    Cost: one forward pass without NMS of each member.

    Args:
        aggregation (str): 'mean', 'max' or 'sum' over all positions.
    """

    needs_committee = True

    def uncertainty(self, opinions: Iterator[Tensor],
                    num_classes: int) -> Tensor:
        """Mutual information, [B, P]; what rounding leaves below 0 is 0."""
        total = next(opinions)
        entropies, members = class_entropy(total, num_classes), 1
        for probs in opinions:
            total, members = total + probs, members + 1
            entropies = entropies + class_entropy(probs, num_classes)
        of_mean = class_entropy(total / members, num_classes)
        return (of_mean - entropies / members).clamp(min=0)
