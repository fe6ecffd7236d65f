"""Images whose classes are confused with others than those of chosen ones."""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Optional, Union

import numpy as np
import torch
from torch import Tensor

from mmal.registry import TASK_UTILS
from mmal.scores import Scores, as_scores
from mmal.types import ImageId
from .base import (
    BaseSelector,
    check_labelled,
    check_option,
    check_rows,
    rows_by_tiebreak,
)
from .farthest_first import farthest_first, first_centre

_STARTS = ('labelled', 'random', 'best')
# No probability is smaller: a logarithm would not be finite.
_LEAST = 1e-6
# Farther than any two distributions are.
_FAR = -math.log(_LEAST)


@TASK_UTILS.register_module()
class ContextualDiversity(BaseSelector):
    """Greedy k-center by contextual diversity (CDAL-CS): again and again the
    image whose distance to the nearest labelled or chosen one is largest.

    Agarwal et al., "Contextual Diversity for Active Learning", ECCV 2020.
    The distance of two images is :class:`ContextualDistance` of their class
    distributions, which ``mmal.ClassDistributionEmbedder`` gives as
    ``active_learning.embedder``. Scores do not count, but that images of
    ``-inf`` come after all others. Equal distances are settled by the
    tiebreak of the scores.

    Cost for N images, n of them drawn, beside L labelled ones: O((L + n) (N
    + L) c P) time, c the classes that an image shows (a few) and P the
    numbers of a distribution. All embeddings, (N + L) C P numbers for C
    classes, are read into memory. CPU alone.

    Args:
        start (str): 'labelled' starts from the labelled images (paper),
            'random' from a random image of the pool, 'best' from the one with
            the highest score.
        seed (int): For start='random'.
        dtype (str): How a run stores embeddings, 'float32' or 'float16'.

    Raises:
        ValueError: If a key is none of these; when asked for an order, if
            the embeddings are no class distributions.
    """

    needs_embeddings = True
    needs_embedded = 'class distributions'

    def __init__(self,
                 start: str = 'labelled',
                 seed: int = 0,
                 dtype: str = 'float32') -> None:
        check_option('ContextualDiversity', 'start', start, _STARTS)
        check_option('ContextualDiversity', 'dtype', dtype,
                     ('float32', 'float16'))
        self.start = start
        self.seed = seed
        self.embeddings_dtype = dtype
        self.needs_labelled = start == 'labelled'

    def order(self,
              scores: Union[Scores, Sequence[float]],
              embeddings: Optional[np.ndarray] = None,
              labelled: Optional[np.ndarray] = None) -> Iterator[ImageId]:
        """See :meth:`BaseSelector.order`."""
        scores = as_scores(scores)
        owner = 'ContextualDiversity'
        check_rows(owner, 'embeddings', embeddings, len(scores))
        rows, last = rows_by_tiebreak(scores)
        table, chosen = np.asarray(embeddings)[rows], []
        if self.needs_labelled:
            check_labelled(owner, labelled, table)
            chosen = list(range(len(rows), len(rows) + len(labelled)))
            table = np.concatenate([table, labelled])
        distance = ContextualDistance(table) if len(rows) else None

        def draw() -> Iterator[ImageId]:
            if len(rows):
                if not chosen:
                    chosen.append(first_centre(
                        scores, rows, self.start, self.seed, self.round,
                        *self.seed_key))
                    yield scores.ids[rows[chosen[0]]]
                for position in farthest_first(distance.to, chosen,
                                               len(table)):
                    yield scores.ids[rows[position]]
            for row in last:
                yield scores.ids[row]

        return draw()


class ContextualDistance:
    r"""Mean symmetric Kullback-Leibler divergence of class distributions.

    CDAL: over the classes c that both images show,

    .. math:: \tfrac12 KL(P^c \| Q^c) + \tfrac12 KL(Q^c \| P^c)
        = \tfrac12 \sum_k (P^c_k - Q^c_k) (\log P^c_k - \log Q^c_k)

    in the mean. Probabilities below 1e-6 count as 1e-6. Images that show no
    class in common are farther apart than any others (13.8), which the paper
    leaves open; in the published code their distance is 0, and nothing would
    ever be far from a chosen image of other classes. An image that shows no
    class at all lies at 0 from all, so that it comes last; where it is chosen
    or labelled, all others are as far from it as from one of other classes.

    Args:
        rows (np.ndarray): [N, C P], float32 or float16, P = C or C + 1
            numbers for each of C classes, which add up to 1, or to 0 for a
            class that is not shown.

    Raises:
        ValueError: If they are no such rows.
    """

    def __init__(self, rows: np.ndarray) -> None:
        classes = math.isqrt(rows.shape[1])
        fits = classes and rows.shape[1] % classes == 0
        table = rows.reshape(len(rows), classes, -1) if fits else rows
        sums = table.sum(-1, dtype=np.float64)
        if not fits or not (
                (np.abs(sums - 1) < 1e-2) | (sums == 0)).all():
            raise ValueError(
                'ContextualDiversity compares class distributions, but the '
                f'embeddings (shape {list(rows.shape)}) are none: set '
                "active_learning.embedder=dict(type='mmal."
                "ClassDistributionEmbedder').")
        self._table = table
        self._shown = torch.from_numpy(sums > 0)

    def to(self, image: int) -> Tensor:
        """float64 [N] in [0, 13.9], the distances of all images to one that is
        chosen."""
        own = self._shown[image].nonzero()[:, 0]
        probs = torch.from_numpy(
            self._table[:, own.numpy()].astype(np.float64)).clamp(min=_LEAST)
        logs = probs.log()
        divergences = ((probs - probs[image]) * (logs - logs[image])).sum(
            -1) / 2
        both = self._shown[:, own]
        shared = both.sum(1)
        mean = (divergences * both).sum(1) / shared.clamp(min=1)
        # A chosen image without a class covers nothing but its like: were it
        # at 0 from all, there would be no choice left.
        return torch.where(shared > 0, mean, _FAR).masked_fill(
            ~self._shown.any(1), 0)
