"""Half of the images from the top, half from the bottom."""
from __future__ import annotations

import numpy as np

from mmal.registry import TASK_UTILS
from mmal.scores import Scores
from .base import best_first
from .ranking import BaseRanking


@TASK_UTILS.register_module()
class TopBottom(BaseRanking):
    """Chooses in turn the highest and the lowest score left, in O(N log N).

    Of an odd number one more is from the top. Images with a score of ``-inf``
    come after all others.

    Haussmann et al., "Scalable Active Learning for Object Detection", 2020,
    table II (top-N/2-bottom-N/2).

    Examples:
        >>> from mmal.scores import Scores
        >>> s = Scores([7, 8, 9], [1., 3., 2.])
        >>> TopBottom().select(s, 2)
        [8, 7]
    """

    def ranking(self, scores: Scores) -> np.ndarray:
        """See :meth:`BaseRanking.ranking`."""
        order = best_first(scores)
        known = int((np.asarray(scores.values) != -np.inf).sum())
        ranked = order[:known].copy()
        half = (known + 1) // 2
        order[:known:2] = ranked[:half]
        order[1:known:2] = ranked[half:][::-1]
        return order
