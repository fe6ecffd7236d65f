"""K-means: the images nearest to the centres of clusters."""
from __future__ import annotations

from typing import Optional

import numpy as np

from mmal.registry import TASK_UTILS
from .clusters import BaseClusterSelector
from .grid_points import GridPoints


@TASK_UTILS.register_module()
class KMeansCentres(BaseClusterSelector):
    """Chooses the images nearest to the centres of clusters.

    Where :class:`KMeansPlusPlus` likes images at the edge of the pool, this
    one takes those in the middle of the crowd. Weighted by the scores it is
    that of Prabhu et al., "Active Domain Adaptation via Clustering
    Uncertainty-weighted Embeddings" (CLUE), ICCV 2021, without labelled
    images. See :class:`BaseClusterSelector` for the order of the clusters.

    O(N·K·D) time for each iteration of k-means, before the first image.

    Args:
        clusters (int, optional): K. When None as many as there are labelled
            images and images to draw; then each drawn image comes from a
            cluster of its own, as far as the labelled ones share clusters.
        weighted (bool): Whether images weigh as much as their scores, which
            must then be >= 0, in k-means++ and in the means.
        start, distance, iterations, seed, dtype: See
            :class:`BaseClusterSelector`.

    Raises:
        ValueError: See :class:`BaseClusterSelector`.

    Examples:
        >>> import numpy as np
        >>> line = np.array([[0.], [1.], [2.], [8.], [9.], [9.5], [10.]])
        >>> selector = KMeansCentres(start='random')
        >>> selector.select([0.] * 7, 2, line)
        [4, 1]
    """

    def __init__(self,
                 clusters: Optional[int] = None,
                 weighted: bool = False,
                 start: str = 'labelled',
                 distance: str = 'euclidean',
                 iterations: int = 50,
                 seed: int = 0,
                 dtype: str = 'float32') -> None:
        self.weighted = weighted
        super().__init__(clusters, None, 1, start, distance, iterations, seed,
                         dtype)
        self.needs_weights = weighted

    def ranking(self, points: GridPoints, members: np.ndarray,
                mean: np.ndarray) -> np.ndarray:
        """Squared distances from the mean; two that make a cluster are as far
        from it."""
        return np.square(points.take(members) - mean).sum(1)
