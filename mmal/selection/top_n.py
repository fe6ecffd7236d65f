"""The plainest selector: the highest scores."""
from __future__ import annotations

import numpy as np

from mmal.registry import TASK_UTILS
from mmal.scores import Scores
from .base import best_first
from .ranking import BaseRanking


@TASK_UTILS.register_module()
class TopN(BaseRanking):
    """Chooses the n images with the highest scores, in O(N log N).

    Examples:
        >>> from mmal.scores import Scores
        >>> s = Scores([7, 8, 9], [1., 3., 2.])
        >>> TopN().select(s, 2)
        [8, 9]
    """

    def ranking(self, scores: Scores) -> np.ndarray:
        """See :meth:`BaseRanking.ranking`."""
        return best_first(scores)
