"""The farthest point, again and again, looking at few points each time."""
from __future__ import annotations

from typing import Optional, Union

import numpy as np

from .distances import Quantizer, blocks

# What the frontier may take of memory.
_FRONTIER_BYTES = 2**24
# Rows at a time, so that memory does not grow with how many are measured.
CHUNK = 1024
# Centres that every candidate is measured to at first. The labelled images
# may be thousands, and a few of them already tell most candidates apart;
# only those with large bounds ever meet the others.
FIRST_CENTRES = 64


class Centres:
    """The points whose neighbourhood is covered, in the order they came.

    Args:
        quantizer (Quantizer): Where distances are taken.
    """

    def __init__(self, quantizer: Quantizer) -> None:
        self._quantizer = quantizer
        # Room that doubles when it is full: adding one centre at a time then
        # copies each only a few times over.
        self._cells = np.zeros((64, quantizer.width))
        self._norms = quantizer.square_norms(self._cells)
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def add(self, cells: np.ndarray) -> None:
        """Append centres, float64 [K, W] of the quantizer."""
        end = self._number + len(cells)
        while end > len(self._cells):
            self._cells = np.concatenate([self._cells, self._cells])
            self._norms = np.concatenate([self._norms, self._norms])
        self._cells[self._number:end] = cells
        self._norms[self._number:end] = self._quantizer.square_norms(cells)
        self._number = end

    def since(self, start: int) -> np.ndarray:
        """float64 [K, W], those from ``start`` on."""
        return self._cells[start:self._number]

    def min_squares(self, cells: np.ndarray, norms: np.ndarray,
                    start: int, stop: Optional[int] = None) -> np.ndarray:
        """See :meth:`Quantizer.min_squares`, for centres from ``start``
        on."""
        centres = slice(start, self._number if stop is None else stop)
        return self._quantizer.min_squares(
            cells, norms, self._cells[centres], self._norms[centres])


class LazyGreedyKCenter:
    """Finds the candidate with the largest (weighted) distance to its nearest
    centre, exactly, without measuring most distances.

    Distances to the nearest centre only fall as centres are added, so what
    was once measured stays an upper bound. The candidates with the largest
    bounds, the frontier, are kept in memory; as long as the best of them beats
    every bound outside, no other candidate matters, and of the frontier only
    those whose bound beats the best measured value are measured again (lazy
    greedy; Minoux 1978). A point meets the centres it has missed in one
    matrix product. Each pair is measured at most once but for a few, so the
    worst case is that of measuring everything, O(N·n·D); memory is O(N) and
    the frontier besides the embeddings.

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
        self._size = frontier_rows(quantizer.width)
        self._frontier: Optional[_Frontier] = None
        # Of each candidate the squared distance to the nearest centre among
        # the first ones, how many of these it has met, and the upper bound
        # that follows for what is compared.
        number = min(len(centres), FIRST_CENTRES)
        self._squares = nearest_squares(embeddings, quantizer, candidates,
                                        centres, number)
        self._seen = np.full(len(candidates), number, np.int64)
        self._bounds = weighted(self._squares, weights).copy()

    def best(self) -> list[int]:
        """The position in ``candidates`` of the farthest one left; none if
        all have been taken."""
        while True:
            if self._frontier is not None:
                position = self._frontier.best(self._centres)
                if position is not None:
                    return [position]
                self._frontier.store(self)
            positions, outside = largest(self._bounds, self._size)
            if not len(positions):
                self._frontier = None
                return []
            # Sorted by row, so that a file is read from front to back.
            rows = self._rows[positions]
            order = np.argsort(rows)
            cells = np.empty((len(rows), self._quantizer.width))
            for start in range(0, len(rows), CHUNK):
                chunk = order[start:start + CHUNK]
                cells[chunk] = self._quantizer.quantize(
                    self._embeddings[rows[chunk]])
            self._frontier = _Frontier(self, positions, cells, outside)

    def value(self, position: int) -> float:
        """The weighted squared distance of what :meth:`best` returned; only to
        be compared with others of the same quantizer and kind of weights."""
        return self._frontier.value(position)

    def quantized(self, position: int) -> np.ndarray:
        """float64 [W], where what :meth:`best` returned lies."""
        return self._frontier.quantized(position)

    def choose(self, cells: np.ndarray) -> int:
        """The farthest one of all processes."""
        return 0

    def take(self, position: int) -> None:
        """Make what :meth:`best` returned no candidate any more."""
        self._frontier.take(position)


class _Frontier:
    """The candidates with the largest bounds, in memory.

    Args:
        points (LazyGreedyKCenter): All candidates, and what is known of them.
        positions (np.ndarray): int64 [F], ascending; those in here.
        cells (np.ndarray): float64 [F, W], where they lie.
        outside (tuple[float, int]): The largest bound of the others, and the
            first position that has it.
    """

    def __init__(self, points: LazyGreedyKCenter, positions: np.ndarray,
                 cells: np.ndarray, outside: tuple[float, int]) -> None:
        self._positions = positions
        self._cells = cells
        self._norms = points._quantizer.square_norms(cells)
        self._outside = outside
        self._weights = None if points._weights is None else \
            points._weights[positions]
        self._squares = points._squares[positions]
        self._seen = points._seen[positions]
        self._bounds = points._bounds[positions]
        # All of them meet all centres now, in a few large products: they are
        # the ones that the next choices would measure one by one. Sorted by
        # what they have seen, as a chunk starts from the least of its rows.
        self._measure(np.argsort(self._seen, kind='stable'), points._centres)

    def best(self, centres: Centres) -> Optional[int]:
        """The farthest candidate, None if one outside may be farther."""
        bound_outside, first_outside = self._outside
        number = 1
        while True:
            top = int(self._bounds.argmax())
            bound = self._bounds[top]
            if bound == -np.inf or bound < bound_outside or (
                    bound == bound_outside
                    and self._positions[top] > first_outside):
                return None
            if self._seen[top] == len(centres):
                return int(self._positions[top])

            # The bound may be out of date. Mostly the one at the top is the
            # farthest after all, so it is measured alone at first. If its
            # bound falls, the next one comes to the top: eight times as many
            # each time, since one by one would be slower than a product.
            if number == 1:
                stale = np.array([top])
            elif number >= len(self._bounds):
                stale = np.flatnonzero(self._seen < len(centres))
            else:
                high = np.argpartition(self._bounds, -number)[-number:]
                stale = high[self._seen[high] < len(centres)]
            self._measure(stale, centres)
            number = 8 * number

    def _measure(self, index: np.ndarray, centres: Centres) -> None:
        """Measure the distances to the centres that came since."""
        for start in range(0, len(index), CHUNK):
            chunk = index[start:start + CHUNK]
            # Who has met more than the others meets some again, which changes
            # no minimum.
            first = self._seen[chunk].min()
            if first < len(centres):
                squares = np.minimum(
                    centres.min_squares(self._cells[chunk],
                                        self._norms[chunk], first),
                    self._squares[chunk])
                self._squares[chunk] = squares
                self._seen[chunk] = len(centres)
                self._bounds[chunk] = weighted(squares, self._weights, chunk)

    def _index(self, position: int) -> int:
        return int(np.searchsorted(self._positions, position))

    def value(self, position: int) -> float:
        """See :meth:`LazyGreedyKCenter.value`."""
        return float(self._bounds[self._index(position)])

    def quantized(self, position: int) -> np.ndarray:
        """See :meth:`LazyGreedyKCenter.quantized`."""
        return self._cells[self._index(position)]

    def take(self, position: int) -> None:
        """See :meth:`LazyGreedyKCenter.take`."""
        index = self._index(position)
        self._bounds[index] = -np.inf
        self._seen[index] = np.iinfo(np.int64).max  # never measured again

    def store(self, points: LazyGreedyKCenter) -> None:
        """Give back what was measured."""
        points._squares[self._positions] = self._squares
        points._seen[self._positions] = self._seen
        points._bounds[self._positions] = self._bounds


def weighted(squares: np.ndarray,
             weights: Optional[np.ndarray],
             index: Union[slice, np.ndarray] = slice(None)) -> np.ndarray:
    """What candidates are compared by.

    Args:
        squares (np.ndarray): float64 [K], squared distances.
        weights (np.ndarray, optional): float64 [P], of all candidates.
        index (slice | np.ndarray): Which K of these the distances belong to.

    Returns:
        np.ndarray: float64 [K]; ``squares`` itself where there are no
        weights.
    """
    return squares if weights is None else weights[index] * squares


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
        np.ndarray: float64 [P], in cells.
    """
    squares = np.empty(len(candidates))
    order = np.argsort(candidates)
    rows = candidates[order]
    for start, block in blocks(embeddings):
        low, high = np.searchsorted(rows, (start, start + len(block)))
        cells = quantizer.quantize(block[rows[low:high] - start])
        squares[order[low:high]] = centres.min_squares(
            cells, quantizer.square_norms(cells), 0, number)
    return squares


def frontier_rows(dim: int) -> int:
    """How many candidates of so many numbers each the frontier has."""
    return max(1, _FRONTIER_BYTES // (8 * max(1, dim)))


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
    # Equal bounds at the edge are many where images are copies: the earlier
    # ones are in, so that whatever is left out comes later than these.
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
