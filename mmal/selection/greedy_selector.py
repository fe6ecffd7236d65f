"""What core-set and k-means++ share: one image after another, each by its
distance to those before it."""
from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Optional, Protocol, Union

import numpy as np
import torch

from mmal.dist import Processes, SingleProcess, raise_everywhere
from mmal.randomness import seeded_uniform
from mmal.scores import Scores, as_scores
from mmal.types import ImageId
from .base import (
    BaseSelector,
    check_labelled,
    check_option,
    check_rows,
    check_weights,
)
from .devices import check_device, device_of
from .distances import (
    DISTANCES,
    BaseDistance,
    blocks,
    quantizer_for,
)
from .lazy_greedy import Centres

_STARTS = ('labelled', 'random', 'best')


class Candidate(NamedTuple):
    """One of the best images that one process has to offer.

    Args:
        row (int): Its row among the images of the process.
        value (float): The largest of all processes wins.
        quantized (np.ndarray): float64 [W], where it lies.
    """
    row: int
    value: float
    quantized: np.ndarray


class Offer(NamedTuple):
    """One of the best candidates of all processes.

    Args:
        process (int): Whose it is.
        row (int): Its row there.
        quantized (np.ndarray): float64 [W], where it lies.
    """
    process: int
    row: int
    quantized: np.ndarray


class CandidateSet(Protocol):
    """Images of one process, of which one is taken again and again.

    Positions count the candidates. What one process calls the best is
    compared with the best of the others by its value.
    """

    def best(self) -> list[int]:
        """The positions of the best candidates left, the best one first; at
        most as many as the selector has trials."""

    def choose(self, cells: np.ndarray) -> int:
        """Which one is taken of the best of all processes.

        Args:
            cells (np.ndarray): float64 [T, W], where these lie, the best one
                first.
        """

    def value(self, position: int) -> float:
        """Of what :meth:`best` returned; the largest of all processes
        count."""

    def quantized(self, position: int) -> np.ndarray:
        """float64 [W], where what :meth:`best` returned lies."""

    def take(self, position: int) -> None:
        """Make what :meth:`best` returned no candidate any more."""


class BaseGreedySelector(BaseSelector):
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
        device (str): Where distances are measured: 'cpu', 'cuda' or one GPU
            ('cuda:0'), or 'auto', a GPU where all processes have one.

    Raises:
        ValueError: If ``start``, ``distance``, ``dtype`` or ``device`` is
            unknown, or there is no such GPU.
    """

    needs_embeddings = True
    can_share = True
    trials = 1  # candidates of which each choice takes one
    key = ''  # its random numbers are not those of another selector

    def __init__(self, start: str, weighted: bool, distance: str, seed: int,
                 dtype: str, device: str = 'cpu') -> None:
        name = type(self).__name__
        check_device(name, device)
        check_option(name, 'start', start, _STARTS)
        check_option(name, 'distance', distance, tuple(DISTANCES))
        check_option(name, 'dtype', dtype, ('float32', 'float16'))
        self.start = start
        self.weighted = weighted
        self.distance: BaseDistance = DISTANCES[distance]()
        self.seed = seed
        self.device = device
        self.embeddings_dtype = dtype
        self.needs_labelled = start == 'labelled'
        self.needs_weights = weighted

    @abstractmethod
    def candidates(self, run: GreedyRun, rows: np.ndarray,
                   weights: Optional[np.ndarray]) -> CandidateSet:
        """Images to choose from.

        Args:
            run (GreedyRun): Its ``embeddings``, ``quantizer``, ``centres``,
                ``scores`` and ``device``; more centres come.
            rows (np.ndarray): int64 [P], rows of the candidates, in the order
                of their tiebreaks.
            weights (np.ndarray, optional): float64 [P], finite and >= 0.
        """

    def order(self,
              scores: Union[Scores, Sequence[float]],
              embeddings: Optional[np.ndarray] = None,
              labelled: Optional[np.ndarray] = None) -> Iterator[ImageId]:
        """See :meth:`BaseSelector.order`.

        Raises:
            ValueError: Also if embeddings are missing, of a wrong shape or not
                finite, or a weight is negative.
        """
        return self.order_sharded(scores, embeddings, labelled,
                                  SingleProcess())

    def order_sharded(self, scores: Union[Scores, Sequence[float]],
                      embeddings: np.ndarray, labelled: Optional[np.ndarray],
                      processes: Processes) -> GreedyRun:
        """Choose together with processes that hold other parts of the pool.

        Every process calls this with its own images and draws from the result
        as often as the others, or until any of them closes its own. Each
        choice exchanges W + 4 numbers of every process for each trial, W the
        width of :class:`Quantizer`, and those of :class:`CandidateSet`.

        Args:
            scores (Scores): Scores of the images of this process.
            embeddings (np.ndarray): [N, D] of the images of this process.
            labelled (np.ndarray, optional): [L, D], all of them in every
                process.
            processes (Processes): How they talk.

        Returns:
            GreedyRun: The ids of all processes' images, in the same order in
            every process: the one that a single process would find.

        Raises:
            ValueError: See :meth:`order`; in all processes if in one.
        """
        scores = as_scores(scores)
        name = type(self).__name__

        def check() -> None:
            check_rows(name, 'embeddings', embeddings, len(scores))
            if self.needs_labelled:
                check_labelled(name, labelled, embeddings)
            if self.weighted:
                check_weights(f'{name}(weighted=True)',
                              'multiplies distances by scores', scores,
                              ', or weighted=False')

        # A process that stops alone would leave the others waiting for it.
        raise_everywhere(processes, check)
        return GreedyRun(self, scores, embeddings, labelled, processes)

    def first_key(self, scores: Scores) -> np.ndarray:
        """float64 [N]; the highest is chosen where no image is labelled."""
        if self.start == 'best':
            return scores.values
        return seeded_uniform(scores.ids, self.seed, self.round,
                              *self.seed_key, self.key)


class GreedyRun(Iterator[ImageId]):
    """The order of a greedy selector, computed as far as it is drawn.

    All processes draw in step. One that has enough calls :meth:`close`, which
    ends the order of the others at their next image.

    Args:
        selector (BaseGreedySelector): Its settings.
        scores (Scores): Of the images of this process.
        embeddings (np.ndarray): [N, D] of the same.
        labelled (np.ndarray, optional): [L, D] of the labelled images.
        processes (Processes): The others.
    """

    def __init__(self, selector: BaseGreedySelector, scores: Scores,
                 embeddings: np.ndarray, labelled: Optional[np.ndarray],
                 processes: Processes) -> None:
        self.selector = selector
        self.scores = scores
        self.embeddings = embeddings
        self.labelled = labelled if selector.needs_labelled else None
        self.processes = processes
        self.by_tiebreak = np.argsort(scores.tiebreak, kind='stable')
        self.left = np.ones(len(scores), bool)
        # Whatever the processes must know of each other but the choices
        # themselves they learn here: between two choices there is then no
        # other exchange, which a process that closes its order would miss.
        self.ids = processes.gather_objects(scores.ids)
        self._has_score = scores.values > -np.inf
        self._number_with_score = int(
            processes.gather([self._has_score.sum()]).sum())
        self._largest = float(
            processes.gather([scores.values.max(initial=0)]).max())
        # How processes settle a choice depends on where they measure.
        device = device_of(selector.device)
        on_cpu = processes.gather([device.type == 'cpu']).any()
        self.device = torch.device('cpu') if on_cpu else device
        self._remaining = sum(map(len, self.ids))
        self._choices: Optional[Iterator[ImageId]] = None
        if self._remaining:
            self.quantizer = quantizer_for(selector.distance, embeddings,
                                           scores, self.labelled, processes)
            self.centres = Centres(self.quantizer)
            self._choices = self._choose()

    def __next__(self) -> ImageId:
        if self._choices is None:
            raise StopIteration
        try:
            image = next(self._choices)
        except BaseException:
            # The others fail in the same exchange, or wait in none: closing
            # later must not begin another one.
            self._choices = None
            raise
        # After the last image no process waits for another exchange.
        self._remaining -= 1
        if not self._remaining:
            self._choices = None
        return image

    def close(self) -> None:
        """Draw no more, and tell the other processes so."""
        if self._choices is not None:
            self._choices = None
            self._exchange([], stop=True)

    def _choose(self) -> Iterator[ImageId]:
        """Those with a score first, then those of score -inf."""
        with_score = self._number_with_score
        without_score = self._remaining - with_score
        if self.labelled is not None:
            for _, block in blocks(self.labelled):
                self.centres.add(self.quantizer.quantize(block))
        else:
            offers = self._exchange(self._first())
            if offers is None:
                return
            yield self._take(offers[0])
            if with_score:
                with_score -= 1
            else:
                without_score -= 1

        # Divided by a power of two, exactly, so that no weight is more than
        # 1: products with squared distances then neither overflow nor vanish
        # where scores are huge or tiny.
        weights = None
        if self.selector.weighted:
            weights = np.ldexp(self.scores.values,
                               -np.frexp(self._largest)[1])
        groups = ((self._has_score, weights, with_score),
                  (~self._has_score, None, without_score))
        for group, weights, number in groups:
            if not number:
                continue
            # Processes that have no more candidates go on offering nothing:
            # each choice is an exchange of all of them.
            rows = self.by_tiebreak[(group & self.left)[self.by_tiebreak]]
            candidates = self.selector.candidates(
                self, rows, None if weights is None else weights[rows])
            for _ in range(number):
                best = {int(rows[p]): p for p in candidates.best()}
                offers = self._exchange([
                    Candidate(row, candidates.value(p),
                              candidates.quantized(p))
                    for row, p in best.items()])
                if offers is None:
                    return
                chosen = offers[candidates.choose(
                    np.stack([offer.quantized for offer in offers]))]
                if chosen.process == self.processes.rank:
                    candidates.take(best[chosen.row])
                yield self._take(chosen)

    def _first(self) -> list[Candidate]:
        """The image to begin with where none is labelled; one of score -inf
        only where there is no other."""
        if not len(self.scores):
            return []
        key = self.selector.first_key(self.scores)
        if self._number_with_score:
            key = np.where(self._has_score, key, -np.inf)
        row = int(np.lexsort((self.scores.tiebreak, -key))[0])
        quantized = self.quantizer.quantize(self.embeddings[row:row + 1])[0]
        return [Candidate(row, float(key[row]), quantized)]

    def _take(self, chosen: Offer) -> ImageId:
        """Choose one of the best candidates of all processes."""
        self.centres.add(chosen.quantized[None])
        if chosen.process == self.processes.rank:
            self.left[chosen.row] = False
        return self.ids[chosen.process][chosen.row]

    def _exchange(self, candidates: Sequence[Candidate],
                  stop: bool = False) -> Optional[list[Offer]]:
        """Show the other processes the best candidates, or that this one
        stops.

        Returns:
            list[Offer]: The best of all processes, at least one and at most
            as many as there are trials; None if a process stops. Of equal
            values the smallest tiebreak comes first. One of value 0 counts
            only where there is no better one, and then alone.
        """
        # All that is shown goes in one array of numbers: whether this process
        # stops, and of each candidate value (negative, as the least sorts
        # first), tiebreak, row and where it lies; infinite where there is no
        # candidate.
        trials, width = self.selector.trials, self.quantizer.width + 4
        numbers = np.full((trials, width), np.inf)
        for line, (row, value, quantized) in zip(numbers, candidates):
            line[1:4] = -value, self.scores.tiebreak[row], row
            line[4:] = quantized
        numbers[:, 0] = stop
        shown = self.processes.gather(numbers.ravel()).reshape(-1, width)
        if shown[:, 0].any():
            return None
        best = np.lexsort((shown[:, 2], shown[:, 1]))[:trials]
        return [Offer(int(n) // trials, int(shown[n, 3]), shown[n, 4:])
                for number, n in enumerate(best)
                if number == 0 or shown[n, 1] < 0]
