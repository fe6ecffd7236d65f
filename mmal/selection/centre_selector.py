"""What core-set and k-means++ share: one image after another, each by its
distance to those before it."""
from __future__ import annotations

from abc import abstractmethod
from typing import Optional, Protocol

import numpy as np

from mmal.randomness import seeded_uniform
from .base import (
    BaseSelector,
    ImageId,
    ScoresLike,
    check_count,
    check_option,
    check_rows,
    check_weights,
)
from .distances import (
    DISTANCES,
    BaseDistance,
    Grid,
    blocks,
    radius_of,
    step_for,
)
from .farthest import Centres
from .processes import Alone, Processes, together

# an image's index, its value, and its row
Offer = tuple[int, float, np.ndarray]

_STARTS = ('labelled', 'random', 'best')


class Points(Protocol):
    """Candidates of which the best one is taken, again and again.

    Positions count the candidates. What one process calls the best is
    compared with the best of the others by its value.
    """

    def best(self) -> int:
        """The position of the best candidate left; -1 if all are taken."""

    def value(self, position: int) -> float:
        """Of what :meth:`best` returned; the largest of all processes
        wins."""

    def cell(self, position: int) -> np.ndarray:
        """float64 [D], where what :meth:`best` returned lies on the grid."""

    def take(self, position: int) -> None:
        """Make what :meth:`best` returned no candidate any more."""


class BaseCentreSelector(BaseSelector):
    """Chooses one image after another by its distance to the nearest one
    chosen before or labelled.

    Args:
        start (str): 'labelled' starts from the labelled images, 'random' from
            a random image of the pool, 'best' from the one with the highest
            score.
        weighted (bool): Whether distances are multiplied by the scores, which
            must then be >= 0.
        distance (str): 'euclidean' or 'cosine'.
        seed (int): Of whatever is random.
        dtype (str): How a run stores embeddings, 'float32' or 'float16'.

    Raises:
        ValueError: If ``start``, ``distance`` or ``dtype`` is unknown.
    """

    needs_embeddings = True
    can_share = True
    key = ''  # its random numbers are not those of another selector

    def __init__(self, start: str, weighted: bool, distance: str, seed: int,
                 dtype: str) -> None:
        name = type(self).__name__
        check_option(name, 'start', start, _STARTS)
        check_option(name, 'distance', distance, tuple(DISTANCES))
        check_option(name, 'dtype', dtype, ('float32', 'float16'))
        self.start = start
        self.weighted = weighted
        self.distance: BaseDistance = DISTANCES[distance]()
        self.seed = seed
        self.embeddings_dtype = dtype
        self.needs_labelled = start == 'labelled'
        self.needs_weights = weighted

    @abstractmethod
    def points(self, choice: Choice, index: np.ndarray,
               weights: Optional[np.ndarray]) -> Points:
        """Candidates to choose from.

        Args:
            choice (Choice): Its ``embeddings``, ``grid``, ``centres`` and
                ``scores``; more centres come.
            index (np.ndarray): int64 [P], rows of the candidates, in the
                order of their tiebreaks.
            weights (np.ndarray, optional): float64 [P], finite and >= 0.
        """

    def select(self,
               scores: ScoresLike,
               n: int,
               embeddings: Optional[np.ndarray] = None,
               labelled: Optional[np.ndarray] = None) -> list[ImageId]:
        """See :meth:`BaseSelector.select`.

        Raises:
            ValueError: Also if embeddings are missing, of a wrong shape or not
                finite, or a weight is negative.
        """
        return self.select_sharded(scores, n, embeddings, labelled, Alone())

    def select_sharded(self, scores: ScoresLike, n: int,
                       embeddings: np.ndarray,
                       labelled: Optional[np.ndarray],
                       processes: Processes) -> list[ImageId]:
        """Choose together with processes that hold other parts of the pool.

        Every process calls this with its own images. Each choice exchanges
        D + 2 numbers of every process.

        Args:
            scores (ScoresLike): Scores of the images of this process.
            n (int): How many to choose from all processes' images.
            embeddings (np.ndarray): [N, D] of the images of this process.
            labelled (np.ndarray, optional): [L, D], all of them in every
                process.
            processes (Processes): How they talk.

        Returns:
            list[int | str]: The same n ids in every process: those that one
            process would choose from all images.

        Raises:
            ValueError: See :meth:`select`; in all processes if in one.
        """
        check_count(n, int(processes.gather([len(scores.ids)]).sum()))
        if n == 0:
            return []
        together(processes, lambda: self._check(scores, embeddings, labelled))
        return Choice(self, scores, embeddings, labelled, processes).run(n)

    def first_key(self, scores: ScoresLike) -> np.ndarray:
        """float64 [N]; the highest is chosen where no image is labelled."""
        if self.start == 'best':
            return np.asarray(scores.values, np.float64)
        return seeded_uniform(scores.ids, self.seed, self.round, *self.part,
                              self.key)

    def _check(self, scores, embeddings, labelled) -> None:
        name = type(self).__name__
        check_rows(name, 'embeddings', embeddings, len(scores.ids))
        if self.needs_labelled:
            if labelled is None or not len(labelled):
                raise ValueError(
                    f"{name}(start='labelled') needs the embeddings of the "
                    "labelled images: name these, or use start='random'.")
            check_rows(name, 'labelled', labelled, len(labelled))
            if labelled.shape[1] != embeddings.shape[1]:
                raise ValueError(
                    f'the embeddings have {embeddings.shape[1]} dimensions '
                    f'but those of the labelled images {labelled.shape[1]}: '
                    'take both from one model.')
        if self.weighted:
            check_weights(f'{name}(weighted=True)',
                          'multiplies distances by scores', scores,
                          ', or weighted=False')


class Choice:
    """One call of :meth:`BaseCentreSelector.select_sharded`.

    Args:
        selector (BaseCentreSelector): Its settings.
        scores (ScoresLike): Of the images of this process.
        embeddings (np.ndarray): [N, D] of the same.
        labelled (np.ndarray, optional): [L, D] of the labelled images.
        processes (Processes): The others.
    """

    def __init__(self, selector: BaseCentreSelector, scores: ScoresLike,
                 embeddings: np.ndarray, labelled: Optional[np.ndarray],
                 processes: Processes) -> None:
        self.selector = selector
        self.scores = scores
        self.values = np.asarray(scores.values, np.float64)
        self.tiebreak = np.asarray(scores.tiebreak, np.float64)
        self.embeddings = embeddings
        self.labelled = labelled if selector.needs_labelled else None
        self.processes = processes
        self.order = np.argsort(self.tiebreak, kind='stable')
        self.left = np.ones(len(self.values), bool)
        self.chosen: list[tuple[int, ImageId]] = []
        self.number = 0
        self.grid = self._make_grid()
        self.centres = Centres(embeddings.shape[1])

    def run(self, n: int) -> list[ImageId]:
        """Choose n images of all processes."""
        self._start()
        last = self.values == -np.inf
        self._extend(~last, self.selector.weighted, n)
        self._extend(last, False, n)
        parts = self.processes.gather_objects(self.chosen)
        return [i for _, i in sorted(sum(parts, []), key=lambda p: p[0])]

    def _make_grid(self) -> Grid:
        """The same in every process: the origin is the image with the
        smallest tiebreak."""
        distance = self.selector.distance
        first = self.order[:1]
        rows = distance.project(np.asarray(self.embeddings[first], float))
        offer = (int(first[0]), 0.0, rows[0]) if len(first) else None
        _, origin = self._agree(offer)
        radius = together(self.processes, lambda: self._radius(origin))
        radius = float(self.processes.gather([radius]).max())
        return Grid(distance, origin, step_for(radius))

    def _radius(self, origin: np.ndarray) -> float:
        distance = self.selector.distance
        own = radius_of(distance, self.embeddings, origin, self.scores.ids)
        if self.labelled is None:
            return own
        return max(own, radius_of(distance, self.labelled, origin))

    def _start(self) -> None:
        """Lay the first centres."""
        if self.labelled is None:
            self._take(self._first())
            return
        for _, block in blocks(self.labelled):
            self.centres.add(self.grid.place(block))

    def _first(self) -> Optional[Offer]:
        """The image to begin with where none is labelled; one of score -inf
        only where there is no other."""
        key = self.selector.first_key(self.scores)
        last = self.values == -np.inf
        if self.processes.gather([(~last).any()]).any():
            key = np.where(last, -np.inf, key)
        best = np.lexsort((self.tiebreak, -key))[:1]
        if not len(best):
            return None
        cell = self.grid.place(self.embeddings[best])[0]
        return int(best[0]), float(key[best[0]]), cell

    def _extend(self, group: np.ndarray, weighted: bool, n: int) -> None:
        """Choose from a group until it is empty or n are chosen."""
        group = group & self.left
        total = int(self.processes.gather([group.sum()]).sum())
        rounds = min(total, n - self.number)
        if rounds == 0:
            return
        index = self.order[group[self.order]]
        points = self.selector.points(
            self, index, self._weights()[index] if weighted else None)
        for _ in range(rounds):
            best = points.best()
            offer = None if best < 0 else (int(index[best]),
                                           points.value(best),
                                           points.cell(best))
            if self._take(offer):
                points.take(best)

    def _weights(self) -> np.ndarray:
        """The scores divided by a power of two, exactly, so that none is
        more than 1."""
        largest = self.values.max(initial=0)
        largest = float(self.processes.gather([largest]).max())
        return np.ldexp(self.values, -np.frexp(largest)[1])

    def _take(self, offer: Optional[Offer]) -> bool:
        """Choose the best offer of all; whether it was the own one."""
        winner, cell = self._agree(offer)
        self.centres.add(cell[None])
        own = winner == self.processes.rank
        if own:
            self.left[offer[0]] = False
            self.chosen.append((self.number, self.scores.ids[offer[0]]))
        self.number += 1
        return own

    def _agree(self, offer: Optional[Offer]) -> tuple[int, np.ndarray]:
        """Which process offers the highest value, and its row."""
        numbers = np.full(self.embeddings.shape[1] + 2, np.inf)
        if offer is not None:
            index, value, row = offer
            numbers = np.concatenate([[-value, self.tiebreak[index]], row])
        offers = self.processes.gather(numbers)
        winner = int(np.lexsort((offers[:, 1], offers[:, 0]))[0])
        return winner, offers[winner, 2:]
