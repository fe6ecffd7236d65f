"""DivProto: the highest scores, but no two images that show the same."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Optional, Union

import numpy as np

from mmal.registry import TASK_UTILS
from mmal.scores import Scores, as_scores
from mmal.types import ImageId
from .base import (
    BaseSelector,
    best_first,
    check_option,
    check_rows,
    known_draws,
)
from .detection_rows import unpack_detections

_COLUMN = 'minority_scores'


@TASK_UTILS.register_module()
class DiversePrototypes(BaseSelector):
    r"""Takes the highest scores one after another, and passes over images
    that are like those taken or show no class that is wanted (DivProto).

    Wu et al., "Entropy-based Active Learning for Object Detection with
    Progressive Diversity Constraint", CVPR 2022, second stage, with what
    ``mmal.EntropyNMSScorer`` gives: class prototypes f, and scores p of the
    minority classes. An image i is passed over if

    .. math:: \min_c \max_{j\ taken} \cos(f_{ic}, f_{jc}) > T_{intra}
        \quad or \quad \max_{c\ wanted} p_{ic} < T_{inter}

    A class that no taken image shows has the similarity -1. Wanted are the
    minority classes of which fewer images have been taken than their quota,
    a share ``quota`` of the images that will be drawn, divided evenly among
    these classes; a taken image counts for the classes whose p is at least
    :math:`T_{inter}`. When no class is wanted any more, the second rule ends.
    The images passed over follow as their scores put them, and those of
    ``-inf`` come last. How ties, unfilled quotas and the end of the pool are
    treated is not said in the paper.

    Cost for N images with c classes and D numbers, n of them taken: O(N·n·c·D)
    at most.

    Args:
        intra_thr (float): T_intra, a cosine in [-1, 1]; 1 passes over none.
        inter_thr (float): T_inter, a score in [0, 1].
        quota (float): Of the minority classes, in [0, 1]; the paper's beta.
            0: no class is wanted more than another.
        dtype (str): How a run stores the rows, 'float32' or 'float16'.

    Raises:
        ValueError: If a key is none of these; when asked for an order, if
            the embeddings are no rows of prototypes, there are no scores of
            minority classes, or nobody can tell how many images will be
            drawn.
    """

    needs_embeddings = True
    needs_embedded = 'detections'

    def __init__(self,
                 intra_thr: float = 0.7,
                 inter_thr: float = 0.3,
                 quota: float = 0.75,
                 dtype: str = 'float32') -> None:
        for name, value, least in (('intra_thr', intra_thr, -1),
                                   ('inter_thr', inter_thr, 0),
                                   ('quota', quota, 0)):
            if not least <= value <= 1:
                raise ValueError(f'DiversePrototypes: {name} is {value}: give '
                                 f'a number from {least} to 1.')
        check_option('DiversePrototypes', 'dtype', dtype,
                     ('float32', 'float16'))
        self.intra_thr = intra_thr
        self.inter_thr = inter_thr
        self.quota = quota
        self.embeddings_dtype = dtype
        self.needs_draws = quota > 0

    def order(self,
              scores: Union[Scores, Sequence[float]],
              embeddings: Optional[np.ndarray] = None,
              labelled: Optional[np.ndarray] = None) -> Iterator[ImageId]:
        """See :meth:`BaseSelector.order`."""
        scores = as_scores(scores)
        check_rows('DiversePrototypes', 'embeddings', embeddings, len(scores))
        wanted: dict[int, float] = {}
        table = None
        if self.quota:
            table = _minority_scores(scores)
            classes = np.flatnonzero((table >= 0).all(0))
            if len(scores) and len(classes):
                share = self.quota * known_draws(
                    self, 'Set quota=0 to do without.') / len(classes)
                wanted = dict.fromkeys(classes.tolist(), share)
        if len(scores):
            unpack_detections('DiversePrototypes', embeddings[:1])
        return self._draw(scores, embeddings, table, wanted)

    def _draw(self, scores: Scores, embeddings: np.ndarray,
              table: Optional[np.ndarray],
              wanted: dict[int, float]) -> Iterator[ImageId]:
        taken: dict[int, np.ndarray] = {}  # [n, D] of each class
        passed_over = []
        for row in best_first(scores):
            if scores.values[row] == -np.inf:
                passed_over.append(row)
                continue
            _, labels, _, features = unpack_detections(
                'DiversePrototypes', embeddings[row:row + 1])
            prototypes = dict(zip(labels.tolist(), features.numpy()))
            similarities = [
                # no cosine is above 1 by rounding, or copies would be alike
                # for a threshold of 1
                min(float((taken[c] @ own).max()), 1.) if c in taken else -1.
                for c, own in prototypes.items()]
            alike = bool(similarities) and min(similarities) > self.intra_thr
            if alike or (wanted and max(
                    table[row, c] for c in wanted) < self.inter_thr):
                passed_over.append(row)
                continue
            for c, own in prototypes.items():
                taken[c] = np.vstack([taken[c], own]) if c in taken else \
                    own[None]
            for c in list(wanted):
                wanted[c] -= table[row, c] >= self.inter_thr
                if wanted[c] <= 0:
                    del wanted[c]
            yield scores.ids[row]
        for row in passed_over:
            yield scores.ids[row]


def _minority_scores(scores: Scores) -> np.ndarray:
    table = np.asarray(scores.columns.get(_COLUMN, ()), np.float64)
    if table.ndim != 2 or len(table) != len(scores):
        raise ValueError(
            'DiversePrototypes keeps a quota for minority classes, but the '
            f'scores have no column {_COLUMN!r} of shape [{len(scores)}, C]: '
            'use mmal.EntropyNMSScorer, or quota=0.')
    return table
