"""A random candidate, the farther the likelier, again and again."""
from __future__ import annotations

from typing import Optional

import numpy as np

from mmal.randomness import SeededStreams
from .distances import Quantizer
from .lazy_greedy import (
    CHUNK,
    FIRST_CENTRES,
    Centres,
    nearest_squares,
    weighted,
)


class D2Sampler:
    """Draws candidates with probabilities proportional to their (weighted)
    squared distance to the nearest centre, without measuring most distances.

    Each candidate gets a new exponential number E at each draw; the one with
    the largest w / E wins, which has the probability w / sum(w) (a race of
    exponential clocks). The numbers belong to the image and the draw, so
    neither the order of the pool nor how it is split over processes changes
    who wins. Weights only fall as centres are added, so an old one bounds a
    new one from above: as long as the leader of the race is not up to date
    it, and those close behind it, are measured again. This is rejection
    sampling, and exact. Each pair is measured at most once, so the worst case
    is that of measuring everything, O(N·n·D), and N numbers a draw; memory is
    O(N) and the centres besides the embeddings.

    Args:
        embeddings (np.ndarray): [N, D], may be memory-mapped.
        quantizer (Quantizer): Where distances are taken.
        candidates (np.ndarray): int64 [P], rows that may be drawn; where no
            probability is left the earlier ones win.
        centres (Centres): At least one; more may be added, one a draw.
        streams (SeededStreams): Of the P candidates.
        weights (np.ndarray, optional): float64 [P], finite and >= 0, each
            multiplies a candidate's squared distance.
    """

    def __init__(self,
                 embeddings: np.ndarray,
                 quantizer: Quantizer,
                 candidates: np.ndarray,
                 centres: Centres,
                 streams: SeededStreams,
                 weights: Optional[np.ndarray] = None) -> None:
        self._embeddings = embeddings
        self._quantizer = quantizer
        self._rows = candidates
        self._centres = centres
        self._streams = streams
        self._weights = weights
        number = min(len(centres), FIRST_CENTRES)
        squares = nearest_squares(embeddings, quantizer, candidates, centres,
                                  number)
        self._bounds = weighted(squares, weights)
        self._seen = np.full(len(candidates), number)
        self._left = np.ones(len(candidates), bool)
        self._race = np.zeros(len(candidates))

    def best(self) -> list[int]:
        """The position in ``candidates`` of the winner; none if all have
        been taken."""
        if not self._left.any():
            return []
        # The number of the draw is that of the centres, which all processes
        # agree on.
        clocks = self._streams.exponential(len(self._centres))
        self._race = np.divide(self._bounds, clocks)
        self._race[~self._left] = -np.inf
        number = 1
        while True:
            top = int(self._race.argmax())
            if self._seen[top] == len(self._centres):
                return [top]

            # The leader may owe its lead to a bound that is out of date. It
            # is measured alone at first, then eight times as many of those
            # close behind it each time: nobody can win but who leads.
            if number == 1:
                stale = np.array([top])
            else:
                stale = np.flatnonzero(self._left
                                       & (self._seen < len(self._centres)))
                if number < len(stale):
                    race = self._race[stale]
                    stale = stale[np.argpartition(race, -number)[-number:]]
            self._measure(stale)
            self._race[stale] = self._bounds[stale] / clocks[stale]
            number = 8 * number

    def _measure(self, positions: np.ndarray) -> None:
        """Measure the distances to the centres that came since."""
        # Sorted by row, so that a file is read from front to back.
        positions = positions[np.argsort(self._rows[positions])]
        for start in range(0, len(positions), CHUNK):
            chunk = positions[start:start + CHUNK]
            cells = self._quantizer.quantize(
                self._embeddings[self._rows[chunk]])
            squares = self._centres.min_squares(
                cells, self._quantizer.square_norms(cells),
                int(self._seen[chunk].min()))
            self._bounds[chunk] = np.minimum(
                self._bounds[chunk], weighted(squares, self._weights, chunk))
            self._seen[chunk] = len(self._centres)

    def value(self, position: int) -> float:
        """The result in the race of what :meth:`best` returned; only to be
        compared with others of the same draw, quantizer and kind of
        weights."""
        return float(self._race[position])

    def quantized(self, position: int) -> np.ndarray:
        """float64 [W], where what :meth:`best` returned lies."""
        row = self._rows[position]
        return self._quantizer.quantize(self._embeddings[row:row + 1])[0]

    def choose(self, cells: np.ndarray) -> int:
        """The winner of all processes."""
        return 0

    def take(self, position: int) -> None:
        """Make what :meth:`best` returned no candidate any more."""
        self._left[position] = False
