"""A random candidate, the farther the likelier, again and again."""
from __future__ import annotations

from typing import Optional

import numpy as np

from mmal.randomness import SeededStreams
from .distances import Quantizer, squared_norms
from .lazy_greedy import Centres, nearest_squares

_CHUNK = 1024


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
        number = min(len(centres), 64)
        self._bounds = self._weighted(
            nearest_squares(embeddings, quantizer, candidates, centres, number),
            slice(None))
        self._seen = np.full(len(candidates), number)
        self._left = np.ones(len(candidates), bool)
        self._race = np.zeros(len(candidates))

    def best(self) -> int:
        """The position in ``candidates`` of the winner; -1 if all have been
        taken."""
        if not self._left.any():
            return -1
        clocks = self._streams.exponential(len(self._centres))
        self._race = np.divide(self._bounds, clocks)
        self._race[~self._left] = -np.inf
        number = 1
        while True:
            top = int(self._race.argmax())
            if self._seen[top] == len(self._centres):
                return top
            self._refresh(self._stale(top, number), clocks)
            number = 8 * number

    def value(self, position: int) -> float:
        """The result in the race of what :meth:`best` returned; only to be
        compared with others of the same draw, quantizer and kind of weights."""
        return float(self._race[position])

    def quantized(self, position: int) -> np.ndarray:
        """float64 [D], where what :meth:`best` returned lies."""
        row = self._rows[position]
        return self._quantizer.quantize(self._embeddings[row:row + 1])[0]

    def take(self, position: int) -> None:
        """Make what :meth:`best` returned no candidate any more."""
        self._left[position] = False

    def _stale(self, top: int, number: int) -> np.ndarray:
        """Of those in the lead the ones that have missed a centre."""
        if number == 1:
            return np.array([top])
        stale = np.flatnonzero(self._left & (self._seen < len(self._centres)))
        if number >= len(stale):
            return stale
        race = self._race[stale]
        return stale[np.argpartition(race, -number)[-number:]]

    def _refresh(self, positions: np.ndarray, clocks: np.ndarray) -> None:
        """Measure the distances to the centres that came since."""
        positions = positions[np.argsort(self._rows[positions])]
        for start in range(0, len(positions), _CHUNK):
            self._measure(positions[start:start + _CHUNK])
        self._race[positions] = self._bounds[positions] / clocks[positions]

    def _measure(self, part: np.ndarray) -> None:
        cells = self._quantizer.quantize(self._embeddings[self._rows[part]])
        squares = self._centres.min_squares(cells, squared_norms(cells),
                                            int(self._seen[part].min()))
        self._bounds[part] = np.minimum(self._bounds[part],
                                        self._weighted(squares, part))
        self._seen[part] = len(self._centres)

    def _weighted(self, squares: np.ndarray, positions) -> np.ndarray:
        if self._weights is None:
            return squares
        return self._weights[positions] * squares
