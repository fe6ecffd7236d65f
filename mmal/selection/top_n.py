"""The plainest selector: the highest scores."""
from __future__ import annotations

from typing import Optional

import numpy as np

from mmal.registry import TASK_UTILS
from .base import BaseSelector, ImageId, ScoresLike, best_first, check_count


@TASK_UTILS.register_module()
class TopN(BaseSelector):
    """Chooses the n images with the highest scores, in O(N log N).

    Examples:
        >>> from types import SimpleNamespace
        >>> import numpy as np
        >>> s = SimpleNamespace(ids=[7, 8, 9], values=np.array([1., 3., 2.]),
        ...                     tiebreak=np.zeros(3))
        >>> TopN().select(s, 2)
        [8, 9]
    """

    def select(self,
               scores: ScoresLike,
               n: int,
               embeddings: Optional[np.ndarray] = None,
               labelled: Optional[np.ndarray] = None) -> list[ImageId]:
        """See :meth:`BaseSelector.select`."""
        check_count(n, len(scores.ids))
        return [scores.ids[i] for i in best_first(scores)[:n]]
