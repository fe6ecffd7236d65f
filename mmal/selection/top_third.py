"""Images drawn from the highest third."""
from __future__ import annotations

import numpy as np

from mmal.randomness import seeded_uniform
from mmal.registry import TASK_UTILS
from mmal.scores import Scores
from .base import best_first
from .ranking import BaseRanking


@TASK_UTILS.register_module()
class TopThird(BaseRanking):
    """Draws n images at random from the third with the highest scores.

    "A combination between most uncertain and slightly easier samples",
    Haussmann et al., "Scalable Active Learning for Object Detection", 2020,
    table II. Each image of the third (rounded up) is as likely as another. If
    n is more than the third, the highest of the others follow. Images with a
    score of ``-inf`` come after all others, also where they are in the third.

    Args:
        seed (int): Another one draws other images.

    Examples:
        >>> sorted(TopThird().select(range(9), 3))
        [6, 7, 8]
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def ranking(self, scores: Scores) -> np.ndarray:
        """See :meth:`BaseRanking.ranking`."""
        order = best_first(scores)
        top = order[:-(-len(order) // 3)]
        drawn = seeded_uniform([scores.ids[i] for i in top], self.seed,
                               self.round, *self.seed_key, 'top-third')
        last = np.asarray(scores.values)[top] == -np.inf
        tiebreak = np.asarray(scores.tiebreak)[top]
        order[:len(top)] = top[np.lexsort((tiebreak, drawn, last))]
        return order
