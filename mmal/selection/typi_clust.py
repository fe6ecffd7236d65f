"""TypiClust: the most typical image of each cluster."""
from __future__ import annotations

from typing import Optional

import numpy as np

from mmal.registry import TASK_UTILS
from .clusters import BaseClusterSelector
from .grid_points import GridPoints, squared_distances

# numbers of a block of distances
_BLOCK = 2**22


@TASK_UTILS.register_module()
class TypiClust(BaseClusterSelector):
    """Chooses the most typical image of the largest uncovered cluster, for
    first labels.

    Hacohen, Dekel & Weinshall, "Active Learning on a Budget: Opposite
    Strategies Suit High and Low Budgets", ICML 2022: the pool and the labelled
    images make as many clusters as there will be labelled images, at most 500;
    from the largest clusters without a labelled image comes the one of the
    largest typicality, the inverse of the mean distance to its 20 nearest
    neighbours in the cluster (to all of them where it has fewer). When each
    cluster has one, those with the fewest follow, see
    :class:`BaseClusterSelector`. The paper takes embeddings of a
    self-supervised network, of length 1.

    O(N·K·D) time for each iteration of k-means, before the first image;
    O(M²·D) for each cluster of M images that is drawn from.

    Args:
        clusters (int, optional): K. When None as many as there are labelled
            images and images to draw.
        max_clusters (int, optional): At most so many.
        neighbours (int): How many the mean distance is to, at least 1.
        min_size (int): Smaller clusters come last.
        start, distance, iterations, seed, dtype: See
            :class:`BaseClusterSelector`.

    Raises:
        ValueError: See :class:`BaseClusterSelector`.

    Examples:
        >>> import numpy as np
        >>> line = np.array([[0.], [3.], [4.], [5.], [8.], [91.], [92.]])
        >>> TypiClust(1, start='random', distance='euclidean',
        ...           neighbours=2).select([0.] * 7, 1, line)
        [2]
    """

    def __init__(self,
                 clusters: Optional[int] = None,
                 max_clusters: Optional[int] = 500,
                 neighbours: int = 20,
                 min_size: int = 5,
                 start: str = 'labelled',
                 distance: str = 'cosine',
                 iterations: int = 50,
                 seed: int = 0,
                 dtype: str = 'float32') -> None:
        super().__init__(clusters, max_clusters, min_size, start, distance,
                         iterations, seed, dtype)
        if isinstance(neighbours, bool) or neighbours < 1:
            raise ValueError(f'TypiClust: neighbours is {neighbours!r}: give '
                             'a whole number of at least 1.')
        self.neighbours = neighbours

    def ranking(self, points: GridPoints, members: np.ndarray,
                mean: np.ndarray) -> np.ndarray:
        """Mean distances to the nearest neighbours, which are the inverse of
        typicality."""
        number = min(self.neighbours, len(members) - 1)
        if number < 1:
            return np.zeros(len(members))
        cells, means = points.take(members), np.empty(len(members))
        step = max(1, _BLOCK // len(members))
        for start in range(0, len(members), step):
            block = slice(start, start + step)
            squares = squared_distances(cells[block], cells)
            # Itself is the nearest, or a copy as near. The nearest in their
            # order, so that the sum is rounded in one way.
            squares.partition(number, axis=1)
            nearest = np.sqrt(np.sort(squares[:, :number + 1], axis=1))
            means[block] = nearest[:, 1:].sum(1) / number
        return means
