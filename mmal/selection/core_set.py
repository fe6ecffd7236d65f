"""Core-set: images that leave none far from a labelled one."""
from __future__ import annotations

from typing import Optional

import numpy as np

from mmal.registry import TASK_UTILS
from .greedy_selector import BaseGreedySelector, CandidateSet, GreedyRun
from .lazy_greedy import LazyGreedyKCenter
from .on_device import KCenterOnDevice


@TASK_UTILS.register_module()
class CoreSet(BaseGreedySelector):
    """Greedy k-center: again and again the image farthest from all chosen and
    labelled ones, ``argmax s(x) min d(x, c)``.

    Sener & Savarese, "Active Learning for Convolutional Neural Networks: A
    Core-Set Approach", 2018, algorithm 1; weighted by the score s(x) as in
    Haussmann et al., "Scalable Active Learning for Object Detection", 2020,
    eq. 5. As there d is the squared euclidean distance, or 1 - cosine (half
    the squared one on the unit sphere); without weights the square makes no
    difference.
    Images with a score of ``-inf`` come after all others.

    At most O((L + n)·N·D) time and O(N) memory beside the embeddings, which
    may be memory-mapped; see :class:`LazyGreedyKCenter`. Distances are exact
    (:class:`Quantizer`: embeddings are rounded to 2**-24 of the longest, and
    more finely where a few are far longer than the others), so the choice is
    the same on every machine and for every number of threads and processes.
    Equal values are settled by the tiebreak of the scores.

    Args:
        start (str): 'labelled' starts from the labelled images, 'random' from
            a random image of the pool, 'best' from the one with the highest
            score.
        weighted (bool): Whether distances are multiplied by the scores, which
            must then be >= 0.
        distance (str): 'euclidean' or 'cosine'.
        seed (int): For start='random'.
        dtype (str): How a run stores embeddings, 'float32' or 'float16'.
        device (str): Where distances are measured: 'cpu', 'cuda' or one GPU
            ('cuda:0'), or 'auto', a GPU where all processes have one. The
            images are the same.

    Raises:
        ValueError: If ``start``, ``distance``, ``dtype`` or ``device`` is
            unknown, or there is no such GPU; when asked for an order, also
            if a few embeddings are so long (1e10 times the others or more)
            that those are lost in rounding.

    Examples:
        >>> import numpy as np
        >>> from mmal.scores import Scores
        >>> scores = Scores([7, 8, 9], np.zeros(3), np.zeros(3))
        >>> line = np.array([[1.], [2.], [5.]], np.float32)
        >>> CoreSet().select(scores, 2, line, labelled=np.zeros((1, 1)))
        [9, 8]
    """

    key = 'core-set'

    def __init__(self,
                 start: str = 'labelled',
                 weighted: bool = False,
                 distance: str = 'euclidean',
                 seed: int = 0,
                 dtype: str = 'float32',
                 device: str = 'cpu') -> None:
        super().__init__(start, weighted, distance, seed, dtype, device)

    def candidates(self, run: GreedyRun, rows: np.ndarray,
                   weights: Optional[np.ndarray]) -> CandidateSet:
        """See :meth:`BaseGreedySelector.candidates`."""
        if run.device.type != 'cpu':
            return KCenterOnDevice(run.embeddings, run.quantizer, rows,
                                   run.centres, weights, run.device)
        return LazyGreedyKCenter(run.embeddings, run.quantizer, rows,
                                 run.centres, weights)
