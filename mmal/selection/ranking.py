"""What selectors that look at nothing but scores share."""
from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Optional, Union

import numpy as np

from mmal.scores import Scores, as_scores
from mmal.types import ImageId
from .base import BaseSelector


class BaseRanking(BaseSelector):
    """Ranks all images at once, in O(N log N)."""

    @abstractmethod
    def ranking(self, scores: Scores) -> np.ndarray:
        """Positions of the scores, int64 [N], the most wanted image first.

        Args:
            scores (Scores): Scores of N images; those of ``-inf`` come after
                all others.
        """

    def order(self,
              scores: Union[Scores, Sequence[float]],
              embeddings: Optional[np.ndarray] = None,
              labelled: Optional[np.ndarray] = None) -> Iterator[ImageId]:
        """See :meth:`BaseSelector.order`."""
        scores = as_scores(scores)
        return map(scores.ids.__getitem__, self.ranking(scores))
