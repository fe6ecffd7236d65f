"""The opposite of TopN, to compare with."""
from __future__ import annotations

import numpy as np

from mmal.registry import TASK_UTILS
from mmal.scores import Scores
from .base import lowest_first
from .ranking import BaseRanking


@TASK_UTILS.register_module()
class BottomN(BaseRanking):
    """Chooses the n images with the lowest scores, in O(N log N).

    Images with a score of ``-inf``, of which nothing is known, come after all
    others.

    Haussmann et al., "Scalable Active Learning for Object Detection", 2020,
    table II.

    Examples:
        >>> from mmal.scores import Scores
        >>> s = Scores([7, 8, 9], [1., 3., 2.])
        >>> BottomN().select(s, 2)
        [7, 9]
    """

    def ranking(self, scores: Scores) -> np.ndarray:
        """See :meth:`BaseRanking.ranking`."""
        return lowest_first(scores)
