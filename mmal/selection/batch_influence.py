"""Influence of an image beside those that are already chosen."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Optional, Union

import numpy as np
import torch

from mmal.registry import TASK_UTILS
from mmal.scores import Scores, as_scores
from mmal.types import ImageId
from .base import BaseSelector, check_option, followed_by_others
from .devices import check_device
from .gradient_rows import GradientRows

# Values that differ by less (of the largest score) are equal: sums are rounded
# otherwise on another machine.
_EQUAL = 1e-9


@TASK_UTILS.register_module()
class BatchInfluence(BaseSelector):
    r"""Chooses the image of the highest influence, again and again, each time
    after the gradient of the reference set has moved by what training will do
    with the images chosen before.

    Training minimises the sum of the losses of n labelled images. Near its
    minimum, for the parameters of the last layers, that sum is
    :math:`\frac n2 \Delta^T H_\lambda \Delta`, with H their mean Hessian and
    :math:`H_\lambda = H + \lambda I` for what holds the parameters where they
    are. With an image z of gradient g_z and Hessian H_z the minimum is at

    .. math:: \Delta_z = -(n H_\lambda + H_z)^{-1} g_z =
        -\frac1n H_\lambda^{-1} g_z + O(n^{-2}).

    There the gradient of the reference loss, v before, is :math:`v + H_R
    \Delta_z`, and as the reference set is drawn as the labelled one is, its
    Hessian H_R is about H:

    .. math:: v \leftarrow v - \frac1n H H_\lambda^{-1} g_z, \qquad s_{test}
        \leftarrow s_{test} - \frac1n H_\lambda^{-1} H H_\lambda^{-1} g_z.

    The influence of another image y, :math:`s_{test} \cdot g_y`, falls by
    the product in H of the steps :math:`H_\lambda^{-1} g` of both, divided by
    n: what z has taught need not be learnt again, and may be learnt too much.
    Two rules that look alike are another thing. A step of gradient descent,
    :math:`v \leftarrow v - \eta H g_z`, is no minimum: it moves v most where
    H is large, and training moves it alike in all directions. And where H
    alone grows, by :math:`g_z g_z^T` (Sherman and Morrison), s_test loses its
    part along :math:`H_\lambda^{-1} g_z` little by little, but never
    overshoots: of all terms of second order in 1/n this one,
    :math:`v^T H_\lambda^{-1} H_z H_\lambda^{-1} g_y / n^2`, has the factor v,
    the mean of many gradients at a point where the mean of the labelled ones
    is 0, in place of g_z, one of them. It and the change of g_y, as small,
    are left out.

    Embeddings stand for gradients: their inner products are these falls, and
    scores are the first influences
    (:class:`mmal.scoring.GradientEmbeddingScorer` with a reference set and a
    solver that has a curvature). The first image is that of
    :class:`TopN`. Where nothing has a positive influence any more, the
    smallest harm comes next; images with a score of ``-inf`` come last, at
    random.

    O(N·d) time for each image and O(N) memory besides the embeddings, which
    may be memory-mapped. Influences within 1e-9 of the largest score are
    equal and settled by the tiebreak.

    Args:
        step (float): How much of the move counts, >= 0; with 0 the order is
            that of :class:`TopN`.
        dtype (str): How a run stores embeddings, 'float32' or 'float16'.
        device (str): Where products are taken: 'cpu', 'cuda' or one GPU
            ('cuda:0'), or 'auto', a GPU where there is one.

    Raises:
        ValueError: If ``step`` is negative, ``dtype`` or ``device`` is
            unknown, or there is no such GPU.

    Examples:
        >>> import numpy as np
        >>> gradients = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
        >>> scores = Scores([7, 8, 9], [.9, .8, .3], np.zeros(3))
        >>> BatchInfluence().select(scores, 2, gradients)
        [7, 9]
    """

    needs_embeddings = True
    needs_gradients = True

    def __init__(self,
                 step: float = 1.0,
                 dtype: str = 'float32',
                 device: str = 'cpu') -> None:
        if not 0 <= step < np.inf:
            raise ValueError(f'BatchInfluence: step is {step}: give a number '
                             'of at least 0.')
        check_option('BatchInfluence', 'dtype', dtype, ('float32', 'float16'))
        check_device('BatchInfluence', device)
        self.step = step
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
        rows = GradientRows('BatchInfluence', scores, embeddings, self.device)
        return followed_by_others(self._draw(scores, rows), scores)

    def _draw(self, scores: Scores, rows: GradientRows) -> Iterator[int]:
        """Positions of the images that have a score."""
        known = rows.known
        margin = _EQUAL * np.abs(scores.values[known]).max(initial=0)
        rank_of = np.empty(len(scores), np.int64)
        rank_of[np.argsort(scores.tiebreak, kind='stable')] = np.arange(
            len(scores))
        v = rows.target
        values = rows.products(v)
        left = torch.from_numpy(known).to(values.device, copy=True)
        rank_of = torch.from_numpy(rank_of).to(values.device)
        for _ in range(int(known.sum())):
            values.masked_fill_(~left, -np.inf)
            equal = values >= values.max() - margin
            row = int(rank_of.masked_fill(~equal, len(scores)).argmin())
            left[row:row + 1].fill_(False)
            yield row
            # Only when the next image is drawn.
            v[1:] -= self.step * rows.vector(row)[1:]
            values = rows.products(v)
