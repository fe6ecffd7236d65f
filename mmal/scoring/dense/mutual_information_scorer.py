"""How much the members of a committee disagree."""
from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mmal.registry import TASK_UTILS
from mmal.uncertainty import (
    binary_entropy,
    categorical_entropy,
    mutual_information,
)
from .base import DenseScorer
from .values import DenseValues, dense_values


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
        """Mutual information of each position and each of its classes."""

        def entropies(probs: Tensor) -> Tensor:
            positions, classes = dense_values(
                probs, num_classes, categorical_entropy, binary_entropy)
            return torch.cat([positions.unsqueeze(-1), classes], -1)

        # As one tensor [B, P, 1 + num_classes], so that the opinions, of which
        # one is held at a time, are asked for once.
        information = mutual_information(opinions, entropies)
        return DenseValues(information[..., 0], information[..., 1:])
