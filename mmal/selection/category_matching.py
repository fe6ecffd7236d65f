"""Images whose objects look unlike those of the images chosen before."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Optional, Union

import numpy as np
import torch
from torch import Tensor

from mmal.registry import TASK_UTILS
from mmal.scores import Scores, as_scores
from mmal.types import ImageId
from .base import (
    BaseSelector,
    check_option,
    check_rows,
    known_draws,
    rows_by_tiebreak,
)
from .detection_rows import DetectionRows, unpack_detections
from .farthest_first import farthest_first, first_centre

_STARTS = ('random', 'best')
_ROWS = 2**16  # detections compared with those of one image at a time


@TASK_UTILS.register_module()
class CategoryMatching(BaseSelector):
    """Farthest first, or k-medoids, by category conditioned matching
    similarity (CCMS).

    Yang et al., "Plug and Play Active Learning for Object Detection", CVPR
    2024, second stage, see :class:`MatchingDistance`. Again and again the
    image comes whose distance to the nearest one chosen before is largest
    (greedy k-center). With ``medoids`` the first k images, about as many as
    will be drawn, are medoids: the first k of greedy k-center are the
    centres to begin with, each image belongs to the nearest centre, and that
    member of a cluster whose distances to the others have the smallest sum
    becomes its centre, until nothing changes. The paper speaks of k-means++;
    this is what the code does that its authors published. The images after
    the first k follow farthest first.

    Images with a score of ``-inf`` come after all others. Equal distances are
    settled by the tiebreak of the scores. Scores do not count otherwise, and
    a whole pool is too much work: let ``mmal.TwoStage`` keep the best scores
    before.

    Cost for N images with m detections of D numbers each: O(N²·m²·D) time and
    8 N² bytes; without medoids O(n·N·m²·D) for n images drawn and O(N·m·D)
    memory. CPU alone.

    Args:
        medoids (bool): Whether the first images are medoids.
        start (str): The first centre: 'random' (paper), or 'best', the one
            with the highest score.
        max_iters (int): Of k-medoids at most; the published code's is 100.
        seed (int): Of the random first centre.
        dtype (str): How a run stores the rows, 'float32' or 'float16'.

    Raises:
        ValueError: If a key is none of these; when asked for an order, if
            the embeddings are no rows of detections, or nobody can tell how
            many images will be drawn.
    """

    needs_embeddings = True
    needs_embedded = 'detections'

    def __init__(self,
                 medoids: bool = True,
                 start: str = 'random',
                 max_iters: int = 100,
                 seed: int = 0,
                 dtype: str = 'float32') -> None:
        check_option('CategoryMatching', 'start', start, _STARTS)
        check_option('CategoryMatching', 'dtype', dtype,
                     ('float32', 'float16'))
        if max_iters < 1:
            raise ValueError(f'CategoryMatching: max_iters is {max_iters}: '
                             'give a number of at least 1.')
        self.needs_draws = medoids
        self.start = start
        self.max_iters = max_iters
        self.seed = seed
        self.embeddings_dtype = dtype

    def order(self,
              scores: Union[Scores, Sequence[float]],
              embeddings: Optional[np.ndarray] = None,
              labelled: Optional[np.ndarray] = None) -> Iterator[ImageId]:
        """See :meth:`BaseSelector.order`."""
        scores = as_scores(scores)
        check_rows('CategoryMatching', 'embeddings', embeddings, len(scores))
        rows, last = rows_by_tiebreak(scores)
        if not len(rows):
            return iter([scores.ids[row] for row in last])
        clusters = 0
        if self.needs_draws:
            clusters = min(len(rows), known_draws(
                self, 'Set medoids=False to do without.'))
        distance = MatchingDistance(
            unpack_detections('CategoryMatching', embeddings[rows]),
            len(rows))

        def draw() -> Iterator[ImageId]:
            chosen = [first_centre(scores, rows, self.start, self.seed,
                                   self.round, *self.seed_key)]
            if clusters:
                chosen = self._medoids(distance, chosen[0], len(rows),
                                       clusters)
            others = farthest_first(distance.to, chosen, len(rows))
            for position in chain(chosen, others):
                yield scores.ids[rows[position]]
            for row in last:
                yield scores.ids[row]

        return draw()

    def _medoids(self, distance: MatchingDistance, first: int, number: int,
                 clusters: int) -> list[int]:
        """Positions of the medoids, in the order of their clusters."""
        table = torch.stack([distance.to(i) for i in range(number)])
        centres = [first]
        others = farthest_first(table.__getitem__, centres, number)
        centres += [next(others) for _ in range(clusters - 1)]
        for _ in range(self.max_iters):
            nearest = table[:, centres].argmin(1)
            # Copies lie at a distance of 0 from one another: a centre stays
            # in its own cluster, or that would be empty.
            nearest[centres] = torch.arange(clusters)
            # Clusters are far smaller than the pool: one by one they cost
            # less than a product with the whole table.
            members = [(nearest == c).nonzero()[:, 0] for c in range(clusters)]
            moved = [int(m[table[m][:, m].sum(1).argmin()]) for m in members]
            if moved == centres:
                break
            centres = moved
        return centres


class MatchingDistance:
    r"""1 - CCMS of one image and all others.

    PPAL, second stage. The similarity of image a to b is

    .. math:: s(a, b) = \frac{1}{\sum_i p_i} \sum_i p_i
        \max_{j \in b,\ c_j = c_i} \cos(f_i, f_j)

    over the detections i of a with scores p, classes c and features f; a
    detection whose class b lacks counts as -1. CCMS is the mean of s(a, b)
    and s(b, a). Images without a detection are like each other, and wholly
    unlike all that have some. (In the published code they are like all.)

    Args:
        detections (DetectionRows): T detections of N images.
        number (int): N.
    """

    def __init__(self, detections: DetectionRows, number: int) -> None:
        self._detections = detections
        counts = torch.bincount(detections.images, minlength=number)
        self._ends = counts.cumsum(0).tolist()
        self._starts = [0, *self._ends[:-1]]
        self._weights = torch.zeros(
            number, dtype=torch.float64).index_add_(
                0, detections.images, detections.scores)

    def to(self, image: int) -> Tensor:
        """float64 [N] in [0, 2], the distances of all images to one."""
        images, labels, scores, features = self._detections
        own = slice(self._starts[image], self._ends[image])
        own_scores = scores[own]
        number, width = len(self._weights), len(own_scores)
        towards = torch.zeros(number, dtype=torch.float64)
        back = torch.full((number, width), -1., dtype=torch.float64)
        if not width:
            return torch.where(self._weights > 0, 2., 0.).double()
        for start in range(0, len(images), _ROWS):
            rows = slice(start, start + _ROWS)
            cosine = features[rows] @ features[own].T
            cosine = cosine.masked_fill(
                labels[rows, None] != labels[own], -1.)
            towards.index_add_(0, images[rows],
                               scores[rows] * cosine.amax(1))
            back.scatter_reduce_(
                0, images[rows, None].expand_as(cosine), cosine, 'amax')
        tiny = torch.finfo(torch.float64).tiny
        towards = towards / self._weights.clamp(min=tiny)
        towards = towards.masked_fill(self._weights == 0, -1.)
        back = back @ own_scores / own_scores.sum()
        distances = (1 - (towards + back) / 2).clamp(0, 2)
        distances[image] = 0  # not what rounding leaves of it
        return distances
