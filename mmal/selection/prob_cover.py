"""ProbCover: balls that cover as many images as possible."""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Optional, Union

import numpy as np

from mmal.registry import TASK_UTILS
from mmal.scores import Scores, as_scores
from mmal.types import ImageId
from .base import BaseSelector, check_option, rows_by_tiebreak
from .clusters import STARTS, first_centres, k_means
from .distances import DISTANCES
from .grid_points import GridPoints, check_embedded, squared_distances

# points whose neighbours are counted at a time
_BLOCK = 1024


@TASK_UTILS.register_module()
class ProbCover(BaseSelector):
    """Chooses the image whose ball covers the most images that are not
    covered yet, for first labels.

    Yehuda, Dekel, Hacohen & Weinshall, "Active Learning Through a Covering
    Lens", NeurIPS 2022, algorithm 1. A ball holds the images nearer than
    ``delta``. It should be as large as it can be while nearly all balls are
    pure, i.e. hold images of one class only. Labels are not known yet, so
    clusters of k-means stand for classes, as in the paper: the image at
    distance r_i from the nearest one of another cluster has a pure ball up to
    r_i, and ``delta`` is the largest number that ``purity`` of the r_i reach.

    Labelled images cover as chosen ones do. When every image is covered, the
    others follow in random order (their tiebreaks), as all are worth the same.
    Images with a score of ``-inf`` come after all others and count nothing.

    O(N²·D) time in all and O(N) memory beside the embeddings, which are read
    once for each choice: neighbours are counted once, and once more when they
    are covered, and held never. With ``delta`` None as much again, and k-means
    (O(N·K·D) an iteration).

    Args:
        delta (float, optional): The radius, above 0, in the distance of the
            embeddings ('cosine': of those of length 1, at most 2). The rule
            above when None.
        purity (float): In (0, 1].
        pseudo_classes (int): K, clusters for the rule, at least 2.
        start (str): 'labelled', or 'random' as if no image were labelled.
        distance (str): 'euclidean', or 'cosine': of embeddings of length 1.
        iterations (int): Of k-means, at most.
        seed (int): Of k-means++.
        dtype (str): How a run stores embeddings, 'float32' or 'float16'.

    Raises:
        ValueError: If a value makes no sense.

    Examples:
        >>> import numpy as np
        >>> line = np.array([[0.], [1.], [2.], [9.], [9.5]])
        >>> ProbCover(1.5, start='random', distance='euclidean').select(
        ...     [0.] * 5, 1, line)
        [1]
    """

    needs_embeddings = True
    key = 'prob-cover'

    def __init__(self,
                 delta: Optional[float] = None,
                 purity: float = 0.95,
                 pseudo_classes: int = 20,
                 start: str = 'labelled',
                 distance: str = 'cosine',
                 iterations: int = 50,
                 seed: int = 0,
                 dtype: str = 'float32') -> None:
        check_option('ProbCover', 'start', start, STARTS)
        check_option('ProbCover', 'distance', distance, tuple(DISTANCES))
        check_option('ProbCover', 'dtype', dtype, ('float32', 'float16'))
        if delta is not None and not 0 < delta < math.inf:
            raise ValueError(f'ProbCover: delta is {delta!r}: give a radius '
                             'above 0, or leave it out for the rule.')
        if not 0 < purity <= 1:
            raise ValueError(f'ProbCover: purity is {purity!r}: give a share '
                             'above 0 and up to 1.')
        for name, value, least in (('pseudo_classes', pseudo_classes, 2),
                                   ('iterations', iterations, 1)):
            if isinstance(value, bool) or value < least:
                raise ValueError(f'ProbCover: {name} is {value!r}: give a '
                                 f'whole number of at least {least}.')
        self.delta = delta
        self.purity = purity
        self.pseudo_classes = pseudo_classes
        self.start = start
        self.distance = distance
        self.iterations = iterations
        self.seed = seed
        self.embeddings_dtype = dtype
        self.needs_labelled = start == 'labelled'

    def order(self,
              scores: Union[Scores, Sequence[float]],
              embeddings: Optional[np.ndarray] = None,
              labelled: Optional[np.ndarray] = None) -> Iterator[ImageId]:
        """See :meth:`BaseSelector.order`.

        Raises:
            ValueError: Also if embeddings are missing, of a wrong shape or not
                finite.
        """
        scores = as_scores(scores)
        check_embedded(self, scores, embeddings, labelled)
        if not len(scores):
            return iter(())
        if not self.needs_labelled:
            labelled = None
        with_score, last = rows_by_tiebreak(scores)
        points = GridPoints(DISTANCES[self.distance](), scores, embeddings,
                            labelled, with_score)

        def draw() -> Iterator[ImageId]:
            if len(with_score):
                square = (self.delta / points.side)**2 if self.delta else \
                    self._largest_pure(points, scores, embeddings, labelled)
                for n in _cover(points, square):
                    yield scores.ids[with_score[n]]
            yield from (scores.ids[row] for row in last)

        return draw()

    def _largest_pure(self, points: GridPoints, scores: Scores,
                      embeddings: np.ndarray,
                      labelled: Optional[np.ndarray]) -> float:
        """The squared radius by the rule, on the grid; infinite where there
        is but one cluster."""
        centres = first_centres(
            points, scores, embeddings, labelled, self.pseudo_classes,
            distance=self.distance, weighted=False, seed=self.seed,
            key=(*self.seed_key, self.key), round=self.round)
        of = k_means(points, centres, self.iterations).of
        nearest = np.full(len(points), np.inf)
        for block, cells in points.blocks():
            for others, other_cells in points.blocks():
                squares = squared_distances(cells, other_cells)
                squares[of[block][:, None] == of[others]] = np.inf
                nearest[block] = np.minimum(nearest[block], squares.min(1))
        # so many balls are pure, as a ball is open, up to the last of them
        number = math.ceil(self.purity * len(nearest))
        return float(np.sort(nearest)[len(nearest) - number])


def _cover(points: GridPoints, square: float) -> Iterator[int]:
    """Images, the one that covers the most uncovered images first.

    Args:
        points (GridPoints): The images, by tiebreak, and the labelled ones.
        square (float): The squared radius of the balls, on the grid.
    """
    images = points.images
    # What each image's ball would add: counted once for all images, and taken
    # back for those that are covered, as neighbours are each other's.
    gains = np.zeros(images, np.int64)
    uncovered = np.ones(images, bool)

    def neighbours(index: np.ndarray) -> np.ndarray:
        """int64 [images], in how many of these balls each image is."""
        counts = np.zeros(len(points), np.int64)
        for start in range(0, len(index), _BLOCK):
            centres = points.take(index[start:start + _BLOCK])
            for block, cells in points.blocks():
                counts[block] += (
                    squared_distances(cells, centres) < square).sum(1)
        return counts[:images]

    def cover(index: np.ndarray) -> None:
        new = np.flatnonzero(uncovered & (neighbours(index) > 0))
        uncovered[new] = False
        gains[:] -= neighbours(new)

    gains += neighbours(np.arange(images))
    if len(points) > images:
        cover(np.arange(images, len(points)))
    left = np.ones(images, bool)
    while True:
        image = int(np.where(left, gains, 0).argmax())
        if not left[image] or gains[image] <= 0:
            break
        left[image] = False
        cover(np.array([image]))
        yield image
    yield from np.flatnonzero(left).tolist()
