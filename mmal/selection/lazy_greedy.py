"""The farthest point, again and again, looking at few points each time."""
from __future__ import annotations

from typing import Optional

import numpy as np

from .distances import Quantizer, blocks, min_squares, squared_norms

_FRONT_BYTES = 2**24
_CHUNK = 1024


class Centres:
    """The points whose neighbourhood is covered, in the order they came.

    Args:
        dim (int): D.
    """

    def __init__(self, dim: int) -> None:
        self._cells = np.empty((64, dim))
        self._norms = np.empty(64)
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def add(self, cells: np.ndarray) -> None:
        """Append centres, float64 [K, D] of a quantizer."""
        end = self._number + len(cells)
        while end > len(self._cells):
            self._cells = np.concatenate([self._cells, self._cells])
            self._norms = np.concatenate([self._norms, self._norms])
        self._cells[self._number:end] = cells
        self._norms[self._number:end] = squared_norms(cells)
        self._number = end

    def min_squares(self, cells: np.ndarray, norms: np.ndarray,
                    start: int, stop: Optional[int] = None) -> np.ndarray:
        """See :func:`min_squares`, for centres from ``start`` on."""
        part = slice(start, self._number if stop is None else stop)
        return min_squares(cells, norms, self._cells[part],
                           self._norms[part])


class LazyGreedyKCenter:
    """Finds the candidate with the largest (weighted) distance to its nearest
    centre, exactly, without measuring most distances.

    Distances to the nearest centre only fall as centres are added, so what
    was once measured stays an upper bound. The candidates with the largest
    bounds, the front, are kept in memory; as long as the best of them beats
    every bound outside, no other candidate matters, and of the front only
    those whose bound beats the best measured value are measured again (lazy
    greedy; Minoux 1978). A point meets the centres it has missed in one
    matrix product. Each pair is measured at most once but for a few, so the
    worst case is that of measuring everything, O(N·n·D); memory is O(N) and
    the front besides the embeddings.

    Args:
        embeddings (np.ndarray): [N, D], may be memory-mapped.
        quantizer (Quantizer): Where distances are taken.
        candidates (np.ndarray): int64 [P], rows that may be chosen; of equal
            values the earlier one is the farther.
        centres (Centres): At least one; more may be added at any time.
        weights (np.ndarray, optional): float64 [P], finite and >= 0, each
            multiplies a candidate's squared distance.
    """

    def __init__(self,
                 embeddings: np.ndarray,
                 quantizer: Quantizer,
                 candidates: np.ndarray,
                 centres: Centres,
                 weights: Optional[np.ndarray] = None) -> None:
        self._embeddings = embeddings
        self._quantizer = quantizer
        self._rows = candidates
        self._centres = centres
        self._weights = weights
        self._size = front_rows(embeddings.shape[1])
        self._squares = np.full(len(candidates), np.inf)
        self._seen = np.zeros(len(candidates), np.int64)
        self._bounds = np.zeros(len(candidates))
        self._front: Optional[_Frontier] = None
        self._measure_all()

    def best(self) -> int:
        """The position in ``candidates`` of the farthest one left; -1 if all
        have been taken."""
        while True:
            if self._front is not None:
                found = self._front.best(self._centres)
                if found is not None:
                    return found
                self._front.store(self)
            self._front = self._advance()
            if self._front is None:
                return -1

    def value(self, position: int) -> float:
        """The weighted squared distance of what :meth:`best` returned; only to
        be compared with others of the same quantizer and kind of weights."""
        return self._front.value(position)

    def quantized(self, position: int) -> np.ndarray:
        """float64 [D], where what :meth:`best` returned lies."""
        return self._front.quantized(position)

    def take(self, position: int) -> None:
        """Make what :meth:`best` returned no candidate any more."""
        self._front.take(position)

    def values_of(self, squares: np.ndarray, positions) -> np.ndarray:
        """What is compared: squared distances, times weights if there are
        any."""
        if self._weights is None:
            return squares
        return self._weights[positions] * squares

    def _measure_all(self) -> None:
        """The distances to the first centres, as many as cost little."""
        number = min(len(self._centres), 64)
        self._squares = nearest_squares(self._embeddings, self._quantizer,
                                        self._rows, self._centres, number)
        self._seen[:] = number
        self._bounds = self.values_of(self._squares, slice(None)).copy()

    def _advance(self) -> Optional[_Frontier]:
        """The candidates with the largest bounds as the new front."""
        positions, rest = largest(self._bounds, self._size)
        if not len(positions):
            return None
        rows = self._rows[positions]
        order = np.argsort(rows)  # a file is read from front to back
        cells = np.empty((len(rows), self._embeddings.shape[1]))
        for start in range(0, len(rows), _CHUNK):
            part = order[start:start + _CHUNK]
            cells[part] = self._quantizer.quantize(self._embeddings[rows[part]])
        return _Frontier(self, positions, cells, rest)


class _Frontier:
    """The candidates with the largest bounds, in memory."""

    def __init__(self, points: LazyGreedyKCenter, positions: np.ndarray,
                 cells: np.ndarray, rest: tuple[float, int]) -> None:
        self._points = points
        self._positions = positions
        self._cells = cells
        self._norms = squared_norms(cells)
        self._rest = rest
        self._squares = points._squares[positions]
        self._seen = points._seen[positions]
        self._bounds = points._bounds[positions]
        self._refresh(np.argsort(self._seen, kind='stable'), points._centres)

    def best(self, centres: Centres) -> Optional[int]:
        """The farthest candidate, None if one outside may be farther."""
        number = 1
        while True:
            top = int(self._bounds.argmax())
            if not self._beats_rest(top):
                return None
            if self._seen[top] == len(centres):
                return int(self._positions[top])
            self._refresh(self._stale(top, number, len(centres)), centres)
            number = 8 * number

    def _stale(self, top: int, number: int, seen: int) -> np.ndarray:
        """Of the highest bounds those that have missed a centre."""
        if number == 1:
            return np.array([top])
        if number >= len(self._bounds):
            return np.flatnonzero(self._seen < seen)
        high = np.argpartition(self._bounds, -number)[-number:]
        return high[self._seen[high] < seen]

    def _beats_rest(self, top: int) -> bool:
        bound, position = self._rest
        own = self._bounds[top]
        if own == -np.inf:
            return False
        return own > bound or (own == bound
                               and self._positions[top] < position)

    def _refresh(self, index: np.ndarray, centres: Centres) -> None:
        """Measure the distances to the centres that came since."""
        for start in range(0, len(index), _CHUNK):
            part = index[start:start + _CHUNK]
            first = self._seen[part].min()
            if first < len(centres):
                found = centres.min_squares(self._cells[part],
                                            self._norms[part], first)
                self._settle(part, found, len(centres))

    def _settle(self, part: np.ndarray, squares: np.ndarray,
                seen: int) -> None:
        squares = np.minimum(squares, self._squares[part])
        self._squares[part] = squares
        self._seen[part] = seen
        self._bounds[part] = self._points.values_of(
            squares, self._positions[part])

    def _index(self, position: int) -> int:
        return int(np.searchsorted(self._positions, position))

    def value(self, position: int) -> float:
        return float(self._bounds[self._index(position)])

    def quantized(self, position: int) -> np.ndarray:
        return self._cells[self._index(position)]

    def take(self, position: int) -> None:
        index = self._index(position)
        self._bounds[index] = -np.inf
        self._seen[index] = np.iinfo(np.int64).max  # never measured again

    def store(self, points: LazyGreedyKCenter) -> None:
        """Give back what was measured."""
        points._squares[self._positions] = self._squares
        points._seen[self._positions] = self._seen
        points._bounds[self._positions] = self._bounds


def nearest_squares(embeddings: np.ndarray, quantizer: Quantizer,
                    candidates: np.ndarray, centres: Centres,
                    number: int) -> np.ndarray:
    """The squared distance of candidates to the nearest of the first centres.

    Args:
        embeddings (np.ndarray): [N, D], read once from front to back.
        quantizer (Quantizer): Where distances are taken.
        candidates (np.ndarray): int64 [P], rows of them.
        centres (Centres): At least one.
        number (int): How many of the centres, at least 1.

    Returns:
        np.ndarray: float64 [P], in cells; exact.
    """
    squares = np.empty(len(candidates))
    order = np.argsort(candidates)
    rows = candidates[order]
    for start, block in blocks(embeddings):
        low, high = np.searchsorted(rows, (start, start + len(block)))
        cells = quantizer.quantize(block[rows[low:high] - start])
        squares[order[low:high]] = centres.min_squares(
            cells, squared_norms(cells), 0, number)
    return squares


def front_rows(dim: int) -> int:
    """How many candidates of D dimensions the front has."""
    return max(1, _FRONT_BYTES // (8 * max(1, dim)))


def largest(bounds: np.ndarray,
            number: int) -> tuple[np.ndarray, tuple[float, int]]:
    """The positions of the largest bounds, the earlier ones of equals.

    Args:
        bounds (np.ndarray): float64 [P]; ``-inf`` is never chosen.
        number (int): How many, at least 1.

    Returns:
        tuple: int64 [min(number, P)] or fewer, ascending; and the largest
        bound that was left out with its first position (-inf and P if none).
    """
    nothing = (-np.inf, len(bounds))
    if number >= len(bounds):
        return np.flatnonzero(bounds > -np.inf), nothing
    edge = np.partition(bounds, len(bounds) - number)[len(bounds) - number]
    if edge == -np.inf:
        return np.flatnonzero(bounds > -np.inf), nothing
    chosen = bounds > edge
    equal = np.flatnonzero(bounds == edge)
    room = number - int(chosen.sum())
    chosen[equal[:room]] = True
    left = np.where(chosen, -np.inf, bounds)
    first = int(left.argmax())
    return np.flatnonzero(chosen), (float(left[first]), first)
