"""Gradient matching: images whose gradients add up to the one to follow."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Optional, Union

import numpy as np

from mmal.registry import TASK_UTILS
from mmal.scores import Scores, as_scores
from mmal.types import ImageId
from .base import BaseSelector, check_option, followed_by_others
from .devices import check_device
from .gradient_rows import GradientRows
from .sparse_modeling import Pursuit


@TASK_UTILS.register_module()
class GradientMatching(BaseSelector):
    r"""Chooses the images of a sparse solution of

    .. math:: \min_x |v - \sum_i x_i g_i|^2 + \lambda |x|^2,
        \quad |x|_0 = n, \quad x \ge 0

    by orthogonal matching pursuit: g_i is the gradient of image i, v that of
    the reference set. GRAD-MATCH, Killamsetty et al., "GRAD-MATCH: Gradient
    Matching based Data Subset Selection for Efficient Deep Model Training",
    ICML 2021, which matches the training loss of labelled images.

    Embeddings stand for gradients, and the scores are the products g_i·v
    (:class:`mmal.scoring.GradientEmbeddingScorer` with a reference set). v
    itself is not needed: the product of g_i with what is left of it is
    :math:`g_i \cdot v - \sum_k x_k\, g_i \cdot g_k`.

    With ``mmal.Identity`` as the scorer's solver v is the reference gradient
    itself. With a curvature scores are s_test·g_i, and products of embeddings
    those of steps of training; but for a constant and λ the objective is then
    2 n times the reference loss after a training in which image i counts x_i
    times, in its second-order expansion.

    Greedy: the next image is the one whose coefficient alone lowers the
    objective the most, by :math:`(g_i \cdot r)^2 / (|g_i|^2 + \lambda)` with r
    what is left of v; images with g_i·r <= 0 do not help. Then all
    coefficients are solved again, exactly. (GRAD-MATCH takes the largest
    g_i·r - λ x_i.) An image keeps its place if its coefficient becomes 0. Once
    none helps, the choice goes on with a new problem of the images left, x =
    0. Those with g_i·v <= 0 follow by their scores, and those with a score of
    ``-inf`` come last.

    O(N·d) time for each image and O(n²) for its coefficients, O(N) memory
    besides the embeddings, which may be memory-mapped, and a factor of n²
    numbers. Gains within 1e-9 of the best are settled by the tiebreak.

    Args:
        ridge (float): λ as a part of the mean :math:`|g_i|^2`, above 0: a
            gradient that is far shorter than others is not made up for by a
            large coefficient, as training counts each image once.
        dtype (str): How a run stores embeddings, 'float32' or 'float16'.
        device (str): Where products are taken: 'cpu', 'cuda' or one GPU
            ('cuda:0'), or 'auto', a GPU where there is one.

    Raises:
        ValueError: If ``ridge`` is not above 0, ``dtype`` or ``device`` is
            unknown, or there is no such GPU.

    Examples:
        >>> import numpy as np
        >>> gradients = np.array([[2, 0], [2, .1], [0, 1]], np.float32)
        >>> scores = Scores([7, 8, 9], gradients @ [1, 1], np.zeros(3))
        >>> GradientMatching().select(scores, 2, gradients)
        [8, 9]
    """

    needs_embeddings = True
    needs_gradients = True

    def __init__(self,
                 ridge: float = 0.1,
                 dtype: str = 'float32',
                 device: str = 'cpu') -> None:
        if not 0 < ridge < np.inf:
            raise ValueError(f'GradientMatching: ridge is {ridge}: give a '
                             'number above 0.')
        check_option('GradientMatching', 'dtype', dtype,
                     ('float32', 'float16'))
        check_device('GradientMatching', device)
        self.ridge = ridge
        self.device = device
        self.embeddings_dtype = dtype

    def order(self,
              scores: Union[Scores, Sequence[float]],
              embeddings: Optional[np.ndarray] = None,
              labelled: Optional[np.ndarray] = None) -> Iterator[ImageId]:
        """See :meth:`BaseSelector.order`.

        Raises:
            ValueError: Also if embeddings are missing, of a wrong shape or not
                finite, or a score is infinite.
        """
        scores = as_scores(scores)
        rows = GradientRows('GradientMatching', scores, embeddings,
                            self.device)
        known, squares = rows.known, rows.squares
        pursuit: Iterator[int] = iter(())
        if squares[known].any():
            ridge = self.ridge * squares[known].mean()
            # |v| is not known. What the best image alone explains of it says
            # how much is little.
            products = np.where(known, scores.values, 0).clip(min=0)
            explained = float((products**2 / (squares + ridge)).max())
            pursuit = Pursuit(rows, rows.target, explained, known,
                              scores.tiebreak, np.inf, ridge).run()
        return followed_by_others(pursuit, scores)
