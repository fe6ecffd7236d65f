"""What selectors that look at nothing but scores share."""
from __future__ import annotations

from abc import abstractmethod
from typing import Optional

import numpy as np

from .base import BaseSelector, ImageId, ScoresLike, check_count


class BaseRanking(BaseSelector):
    """Orders all images and chooses the first n, in O(N log N)."""

    @abstractmethod
    def ranking(self, scores: ScoresLike) -> np.ndarray:
        """Positions of the scores, int64 [N], the most wanted image first.

        Args:
            scores (ScoresLike): Scores of N images; those of ``-inf`` come
                after all others.
        """

    def select(self,
               scores: ScoresLike,
               n: int,
               embeddings: Optional[np.ndarray] = None,
               labelled: Optional[np.ndarray] = None) -> list[ImageId]:
        """See :meth:`BaseSelector.select`."""
        check_count(n, len(scores.ids))
        return [scores.ids[i] for i in self.ranking(scores)[:n]]
