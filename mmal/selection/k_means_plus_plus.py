"""k-means++: random images, the farther from those chosen the likelier."""
from __future__ import annotations

from typing import Optional

import numpy as np

from mmal.randomness import SeededStreams
from mmal.registry import TASK_UTILS
from .d2_sampling import D2Sampler
from .greedy_d2_sampling import GreedyD2Sampler
from .greedy_selector import BaseGreedySelector, CandidateSet, GreedyRun
from .on_device import D2SamplerOnDevice


@TASK_UTILS.register_module()
class KMeansPlusPlus(BaseGreedySelector):
    """Draws one image after another with ``p(x)`` proportional to
    ``s(x) min d(x, c)``, c the images chosen before.

    d is the squared euclidean distance, or 1 - cosine (half the squared one
    on the unit sphere). Arthur & Vassilvitskii, "k-means++: The Advantages of
    Careful Seeding", 2007; weighted by the score s(x) as in Haussmann et al.,
    "Scalable Active Learning for Object Detection", 2020. Images with a score
    of ``-inf`` come after all others. Where no probability is left (scores of
    0, or copies of chosen images), the smallest tiebreak comes first.

    With more ``trials`` each choice draws so many different images in the
    same way, and takes the one that leaves the smallest potential ``sum s(x)
    min d(x, c)`` of the images with a score: the greedy k-means++ of
    Arthur & Vassilvitskii, section 5. Theirs are drawn independently, so that
    some may be the same.

    At most O((L + trials·n)·N·D) time and O(trials·N) memory beside the
    embeddings, which may be memory-mapped; see :class:`D2Sampler`, which
    computes few of the distances, and :class:`GreedyD2Sampler`. The random
    numbers of an
    image depend on the seed, the round, its id and how many were chosen
    before, and distances are exact (:class:`Quantizer`), so the choice is the
    same for every order of the pool and every number of threads and
    processes.

    Args:
        start (str): 'random' begins with a random image of the pool, each as
            likely as another; 'best' with the one with the highest score;
            'labelled' counts the labelled images among the chosen ones.
        weighted (bool): Whether distances are multiplied by the scores, which
            must then be >= 0.
        distance (str): 'euclidean' or 'cosine'.
        seed (int): Another one draws other images.
        dtype (str): How a run stores embeddings, 'float32' or 'float16'.
        trials (int): Images drawn for each choice. scikit-learn draws ``2 +
            int(log n)`` for n choices, which no selector knows before: 7 for
            149 to 403.
        device (str): Where distances are measured: 'cpu', 'cuda' or one GPU
            ('cuda:0'), or 'auto', a GPU where all processes have one. The
            images are the same.

    Raises:
        ValueError: If ``start``, ``distance``, ``dtype`` or ``device`` is
            unknown, there is no such GPU, or ``trials`` is no whole number
            of at least 1.

    Examples:
        >>> import numpy as np
        >>> from mmal.scores import Scores
        >>> scores = Scores([7, 8, 9], np.ones(3), np.zeros(3))
        >>> line = np.array([[1.], [1.], [5.]], np.float32)
        >>> 9 in KMeansPlusPlus().select(scores, 2, line)
        True
    """

    key = 'k-means++'

    def __init__(self,
                 start: str = 'random',
                 weighted: bool = True,
                 distance: str = 'euclidean',
                 seed: int = 0,
                 dtype: str = 'float32',
                 trials: int = 1,
                 device: str = 'cpu') -> None:
        super().__init__(start, weighted, distance, seed, dtype, device)
        if isinstance(trials, bool) or not isinstance(trials, int) or \
                trials < 1:
            raise ValueError(f'KMeansPlusPlus: trials is {trials!r}: give a '
                             'whole number of at least 1.')
        self.trials = trials

    def candidates(self, run: GreedyRun, rows: np.ndarray,
                   weights: Optional[np.ndarray]) -> CandidateSet:
        """See :meth:`BaseGreedySelector.candidates`."""
        ids = [run.scores.ids[row] for row in rows]
        streams = SeededStreams(ids, self.seed, self.round, *self.seed_key,
                                self.key, 'draws')
        if run.device.type != 'cpu':
            return D2SamplerOnDevice(
                run.embeddings, run.quantizer, rows, run.centres, streams,
                weights, self.trials, run.processes, run.device)
        if self.trials > 1:
            return GreedyD2Sampler(
                run.embeddings, run.quantizer, rows, run.centres, streams,
                weights, self.trials, run.processes)
        return D2Sampler(run.embeddings, run.quantizer, rows, run.centres,
                         streams, weights)
