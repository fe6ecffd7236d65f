"""The plainest selector: the highest scores."""
from __future__ import annotations

import numpy as np

from mmal.registry import TASK_UTILS
from .base import ScoresLike, best_first
from .ranking import BaseRanking


@TASK_UTILS.register_module()
class TopN(BaseRanking):
    """Chooses the n images with the highest scores, in O(N log N).

    Examples:
        >>> from types import SimpleNamespace
        >>> import numpy as np
        >>> s = SimpleNamespace(ids=[7, 8, 9], values=np.array([1., 3., 2.]),
        ...                     tiebreak=np.zeros(3))
        >>> TopN().select(s, 2)
        [8, 9]
    """

    def ranking(self, scores: ScoresLike) -> np.ndarray:
        """See :meth:`BaseRanking.ranking`."""
        return best_first(scores)
