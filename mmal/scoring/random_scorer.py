"""The baseline that every method must beat."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from mmal.randomness import seeded_uniform
from mmal.registry import TASK_UTILS
from .base import BaseScorer
from .batch import Batch
from .data import ScoringData


@TASK_UTILS.register_module()
class RandomScorer(BaseScorer):
    """Scores each image by a uniform random number in [0, 1).

    The number depends on (seed, round, image id) alone. No image is read and
    no forward pass made.
    """

    needs_images = False

    def prepare(self, model: nn.Module, data: ScoringData) -> None:
        """Remember the seed and the round."""
        self._key = (data.seed, data.round, 'random')

    def process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """One number for each image of the batch, shape [B]."""
        numbers = seeded_uniform(batch.ids, *self._key)
        return dict(score=torch.from_numpy(numbers))
