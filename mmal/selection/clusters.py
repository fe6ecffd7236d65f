"""K-means, and selectors that take images from cluster after cluster."""
from __future__ import annotations

import heapq
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Optional, Union

import numpy as np

from mmal.scores import Scores, as_scores
from mmal.types import ImageId
from .base import (
    BaseSelector,
    check_option,
    check_weights,
    known_draws,
    rows_by_tiebreak,
)
from .distances import DISTANCES
from .grid_points import GridPoints, check_embedded, squared_distances
from .k_means_plus_plus import KMeansPlusPlus

STARTS = ('labelled', 'random')


@dataclass(frozen=True)
class Clusters:
    """What k-means finds.

    Args:
        means (np.ndarray): float64 [K, D], the centres before rounding, in
            cells of the grid.
        of (np.ndarray): int64 [P], the cluster of each point.
        iterations (int): How often centres were moved.
    """
    means: np.ndarray
    of: np.ndarray
    iterations: int


def k_means(points: GridPoints,
            centres: np.ndarray,
            iterations: int,
            weights: Optional[np.ndarray] = None) -> Clusters:
    """Lloyd's algorithm.

    Each point belongs to its nearest centre, the first one of equals; each
    centre moves to the (weighted) mean of its points, rounded to the grid; and
    so on until no point changes its cluster. A centre without points, or
    without weight, stays. Sums of whole numbers are exact, so without weights
    the clusters are the same on every machine and for every order of the
    points. O(P·K·D) time for each iteration and O(P + K·D) memory beside the
    embeddings.

    Args:
        points (GridPoints): P points.
        centres (np.ndarray): float64 [K, D], to begin with; K >= 1.
        iterations (int): How often centres are moved at most.
        weights (np.ndarray, optional): float64 [P], at least 0.
    """
    of, means, iteration = np.full(len(points), -1), centres, 0
    while True:
        before, of = of, np.empty(len(points), np.int64)
        sums, masses = np.zeros_like(centres), np.zeros(len(centres))
        for block, cells in points.blocks():
            of[block] = squared_distances(cells, centres).argmin(1)
            mass = np.ones(len(cells)) if weights is None else weights[block]
            masses += np.bincount(of[block], mass, len(centres))
            # sorted by cluster, each cluster's points are one slice
            order = np.argsort(of[block], kind='stable')
            owners, starts = np.unique(of[block][order], return_index=True)
            sums[owners] += np.add.reduceat(
                (cells * mass[:, None])[order], starts)
        if iteration == iterations or (of == before).all():
            return Clusters(means, of, iteration)
        filled = masses > 0
        means = centres.copy()
        means[filled] = sums[filled] / masses[filled, None]
        centres = np.rint(means)
        iteration += 1


def first_centres(points: GridPoints, scores: Scores, embeddings: np.ndarray,
                  labelled: Optional[np.ndarray], number: int, *,
                  distance: str, weighted: bool, seed: int,
                  key: Sequence[Union[int, str]], round: int) -> np.ndarray:
    """Centres to begin with: the labelled images and those that k-means++
    draws beside them; only such as it draws where the labelled ones are as
    many as are wanted.

    Args:
        points (GridPoints): The images that have a score, and the labelled
            ones.
        scores (Scores): Of all N images.
        embeddings (np.ndarray): [N, D].
        labelled (np.ndarray, optional): [L, D].
        number (int): How many, at least 1.
        distance, weighted, seed: See :class:`KMeansPlusPlus`.
        key (sequence[int | str]), round (int): Of its random numbers.

    Returns:
        np.ndarray: float64 [K, D], K is ``number``, or as many as there are
        points to draw.
    """
    held = len(points) - points.images
    beside = 0 < held < number
    sampler = KMeansPlusPlus('labelled' if beside else 'random', weighted,
                             distance, seed).with_seed_key(*key)
    sampler.prepare(round)
    drawn = sampler.select(
        scores, min(number - held * beside, points.images), embeddings,
        labelled if beside else None)
    place = {scores.ids[row]: n for n, row in enumerate(points.rows)}
    index = [*range(points.images, len(points) if beside else points.images),
             *(place[image] for image in drawn)]
    return points.take(np.array(index))


class BaseClusterSelector(BaseSelector):
    """Takes an image of the largest cluster that nobody has taken one of.

    The images of the pool and the labelled ones are clustered together by
    k-means, begun by k-means++ from the labelled images. The next image comes
    from the cluster that the fewest labelled and chosen images are in, the
    largest of these; of small clusters (fewer than ``min_size`` images) only
    where no other has an image left. A subclass says which image of a cluster
    comes first.

    Images with a score of ``-inf`` come after all others and belong to no
    cluster. In random order (their tiebreaks) settle equal values.

    Args:
        clusters (int, optional): How many. When None as many as there are
            labelled images and images to draw.
        max_clusters (int, optional): At most so many.
        min_size (int): See above.
        start (str): 'labelled', or 'random' as if no image were labelled.
        distance (str): 'euclidean', or 'cosine': of embeddings of length 1.
        iterations (int): Of k-means, at most.
        seed (int): Of k-means++.
        dtype (str): How a run stores embeddings, 'float32' or 'float16'.

    Raises:
        ValueError: If a value makes no sense; when asked for an order, also
            if nobody can tell how many images will be drawn and ``clusters``
            is None.
    """

    needs_embeddings = True
    weighted = False
    key = 'clusters'

    def __init__(self, clusters: Optional[int], max_clusters: Optional[int],
                 min_size: int, start: str, distance: str, iterations: int,
                 seed: int, dtype: str) -> None:
        name = type(self).__name__
        check_option(name, 'start', start, STARTS)
        check_option(name, 'distance', distance, tuple(DISTANCES))
        check_option(name, 'dtype', dtype, ('float32', 'float16'))
        for key, value in dict(
                clusters=clusters, max_clusters=max_clusters,
                min_size=min_size, iterations=iterations).items():
            if value is not None and (isinstance(value, bool) or value < 1):
                raise ValueError(f'{name}: {key} is {value!r}: give a whole '
                                 'number of at least 1.')
        self.clusters = clusters
        self.max_clusters = max_clusters
        self.min_size = min_size
        self.start = start
        self.distance = distance
        self.iterations = iterations
        self.seed = seed
        self.embeddings_dtype = dtype
        self.needs_labelled = start == 'labelled'
        self.needs_draws = clusters is None

    @abstractmethod
    def ranking(self, points: GridPoints, members: np.ndarray,
                mean: np.ndarray) -> np.ndarray:
        """What images of one cluster are compared by.

        Args:
            points (GridPoints): All points.
            members (np.ndarray): int64 [M], the points of the cluster, the
                images before the labelled ones.
            mean (np.ndarray): float64 [D], of these.

        Returns:
            np.ndarray: float64 [M], the smallest comes first.
        """

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
        weights = None
        if self.weighted:
            weights = check_weights(f'{type(self).__name__}(weighted=True)',
                                    'weights images by their scores', scores,
                                    ', or weighted=False')
        held = 0 if labelled is None else len(labelled)
        clusters = self.clusters
        if clusters is None:
            clusters = held + known_draws(self, 'Give clusters.')
        clusters = max(1, min(clusters, self.max_clusters or clusters))
        with_score, last = rows_by_tiebreak(scores)
        points = GridPoints(DISTANCES[self.distance](), scores, embeddings,
                            labelled, with_score)
        if weights is not None:
            weights = np.concatenate([weights[with_score], np.zeros(held)])

        def draw() -> Iterator[ImageId]:
            if len(with_score):
                centres = first_centres(
                    points, scores, embeddings, labelled, clusters,
                    distance=self.distance, weighted=self.weighted,
                    seed=self.seed, key=(*self.seed_key, self.key),
                    round=self.round)
                found = k_means(points, centres, self.iterations, weights)
                for n in self._in_turn(points, found):
                    yield scores.ids[with_score[n]]
            yield from (scores.ids[row] for row in last)

        return draw()

    def _in_turn(self, points: GridPoints,
                 clusters: Clusters) -> Iterator[int]:
        """Images, each from the cluster whose turn it is."""
        order = np.argsort(clusters.of, kind='stable')
        members = np.split(order, np.searchsorted(
            clusters.of[order], np.arange(1, len(clusters.means))))
        queue = []
        for cluster, own in enumerate(members):
            taken = int((own >= points.images).sum())  # are labelled
            if taken < len(own):
                queue.append((len(own) < self.min_size, taken, -len(own),
                              cluster))
        heapq.heapify(queue)
        rankings: dict[int, Iterator[int]] = {}
        while queue:
            is_small, taken, size, cluster = queue[0]
            if cluster not in rankings:
                own = members[cluster]
                values = self.ranking(points, own, clusters.means[cluster])
                ranked = own[np.argsort(values, kind='stable')]
                rankings[cluster] = iter(
                    ranked[ranked < points.images].tolist())
            image = next(rankings[cluster], None)
            if image is None:
                heapq.heappop(queue)
                continue
            heapq.heapreplace(queue, (is_small, taken + 1, size, cluster))
            yield image
