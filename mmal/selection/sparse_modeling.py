"""Sparse modelling: few images whose neighbourhoods carry the scores."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Optional, Union

import numpy as np
import torch

from mmal.registry import TASK_UTILS
from mmal.scores import Scores, as_scores
from mmal.types import ImageId
from .base import (
    BaseSelector,
    check_option,
    check_rows,
    check_weights,
    followed_by_others,
)
from .box_least_squares import BoxLeastSquares, one_step_gains
from .devices import check_device, device_of
from .gradient_rows import GradientRows
from .low_rank import SIMILARITIES, LowRank

# Gains that differ by less (relative) are equal: sums are rounded otherwise
# on another machine.
_EQUAL = 1e-9
# A gain below this part of the scores' sum of squares is none.
_NO_GAIN = 1e-10


@TASK_UTILS.register_module()
class SparseModeling(BaseSelector):
    """Chooses the images of a sparse solution of
    ``min ||D x - s||², |x|_0 = n, 0 <= x <= 1`` by orthogonal matching
    pursuit.

    Haussmann et al., "Scalable Active Learning for Object Detection", 2020,
    eq. 6, after Wang et al., "Uncertainty-Based Active Learning via Sparse
    Modeling for Image Classification", 2019. s are the scores divided by the
    largest, and D is the cosine similarity of each two images, or their
    squared euclidean distance divided by its mean over all pairs, so that no
    unit matters.

    Greedy: the next image is the one whose coefficient alone, between 0 and
    1, lowers the objective the most; then all coefficients of those chosen
    are solved again between 0 and 1, exactly. An image keeps its place if its
    coefficient becomes 0. Once no image lowers the objective by more than
    1e-10 ``||s||²`` (D has at most the rank d, or d + 2), x solves the problem
    without the limit of n, and the choice goes on with a new problem: the
    same rows, columns of the images left only, x = 0. When nothing helps
    (scores of 0), the highest scores follow. Images with a score of ``-inf``
    are neither rows nor columns and come last.

    D is never formed: O(N·d) time for each image, O(N·d²) once, O(N) memory
    besides the embeddings, which may be memory-mapped, and a Cholesky factor
    of at most d + 2 columns that is updated. Gains within 1e-9 of the best
    are equal and settled by the tiebreak, which makes the choice the same on
    every machine and for any number of threads but for gains that differ by
    just this.

    Args:
        distance (str): 'cosine' or 'euclidean'.
        dtype (str): How a run stores embeddings, 'float32' or 'float16'.
        device (str): Where D is multiplied: 'cpu', 'cuda' or one GPU
            ('cuda:0'), or 'auto', a GPU where there is one.

    Raises:
        ValueError: If ``distance``, ``dtype`` or ``device`` is unknown, or
            there is no such GPU.

    Examples:
        >>> import numpy as np
        >>> two_alike = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
        >>> scores = Scores([7, 8, 9], [.9, .8, .7], np.zeros(3))
        >>> SparseModeling().select(scores, 2, two_alike)
        [7, 9]
    """

    needs_embeddings = True
    needs_weights = True

    def __init__(self,
                 distance: str = 'cosine',
                 dtype: str = 'float32',
                 device: str = 'cpu') -> None:
        check_option('SparseModeling', 'distance', distance,
                     tuple(SIMILARITIES))
        check_option('SparseModeling', 'dtype', dtype, ('float32', 'float16'))
        check_device('SparseModeling', device)
        self.distance = distance
        self.device = device
        self.embeddings_dtype = dtype

    def order(self,
              scores: Union[Scores, Sequence[float]],
              embeddings: Optional[np.ndarray] = None,
              labelled: Optional[np.ndarray] = None) -> Iterator[ImageId]:
        """See :meth:`BaseSelector.order`.

        Raises:
            ValueError: Also if embeddings are missing, of a wrong shape or not
                finite, or a score is negative.
        """
        scores = as_scores(scores)
        check_rows('SparseModeling', 'embeddings', embeddings, len(scores))
        values = check_weights('SparseModeling', 'models the scores', scores,
                               ', or another selector')
        pursuit: Iterator[int] = iter(())
        if values.max(initial=0) > 0:
            known = values != -np.inf
            matrix = SIMILARITIES[self.distance](embeddings, known,
                                                 device_of(self.device))
            target = np.where(known, values, 0) / values.max()
            pursuit = Pursuit(matrix, matrix.project(target),
                              float(target @ target), known,
                              scores.tiebreak).run()

        # The matrix is formed by now: what is wrong with the embeddings is
        # told here, not when the first image is drawn.
        return followed_by_others(pursuit, scores)


class Pursuit:
    """Orthogonal matching pursuit with bounded coefficients.

    Args:
        matrix (LowRank | GradientRows): D, whose columns are known by
            vectors.
        target (np.ndarray): float64 [R], ``target @ matrix.vector(j)`` is the
            product of s and column j.
        square_norm (float): ``||s||²``, or what it may be compared with.
        columns (np.ndarray): bool [N], the columns of D that may be chosen.
        tiebreak (np.ndarray): float64 [N]; of equals the smallest is first.
        upper (float): The bound of coefficients, above 0; the lower one is 0.
        ridge (float): Times ``||x||²`` it is added to the objective.
    """

    def __init__(self,
                 matrix: Union[LowRank, GradientRows],
                 target: np.ndarray,
                 square_norm: float,
                 columns: np.ndarray,
                 tiebreak: np.ndarray,
                 upper: float = 1.,
                 ridge: float = 0.) -> None:
        self._matrix = matrix
        self._norms = matrix.square_norms() + ridge
        self._target = target
        self._square_norm = square_norm
        self._upper = upper
        self._ridge = ridge
        self._left = torch.from_numpy(columns).to(self._norms.device,
                                                  copy=True)
        rank_of = np.empty(len(columns), np.int64)
        rank_of[np.argsort(tiebreak, kind='stable')] = np.arange(len(columns))
        self._rank_of = torch.from_numpy(rank_of).to(self._norms.device)

    def run(self) -> Iterator[int]:
        """Columns in the order they are chosen, as many as help."""
        while True:
            # A problem of its own each time: when no column helps any more,
            # what is left starts again from x = 0.
            fit = BoxLeastSquares(self._matrix.gram, self._target,
                                  self._square_norm, _NO_GAIN,
                                  self._upper, self._ridge)
            index = self._extend(fit)
            if index is None:
                return
            while index is not None:
                self._left[index:index + 1].fill_(False)
                yield index
                index = self._extend(fit)

    def _extend(self, fit: BoxLeastSquares) -> Optional[int]:
        """Add the column that helps the most; None if none does."""
        gains = one_step_gains(
            self._matrix.products(fit.residual), self._norms, self._upper)
        gains.masked_fill_(~self._left, 0)
        while True:
            # Columns that depend on those chosen seem to help by rounding; a
            # factor cannot take them, so the next best is tried.
            best = gains.max()
            equal = gains >= (1 - _EQUAL) * best
            index = self._rank_of.masked_fill(~equal, len(gains)).argmin()
            # together, as each number that is asked for waits for a GPU
            best, index = torch.stack([best, index.double()]).tolist()
            if best <= _NO_GAIN * self._square_norm:
                return None
            index = int(index)
            if fit.add(self._matrix.vector(index)):
                return index
            gains[index:index + 1].fill_(0)
