"""Several random candidates at a time, of which the best one is kept."""
from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Optional

import numpy as np

from mmal.dist import Processes
from mmal.randomness import SeededStreams
from .distances import Quantizer, blocks
from .lazy_greedy import CHUNK, Centres, largest, nearest_squares, weighted

# Rounding of float32, and the smallest and the largest number it has.
_EPSILON = 2.0**-24
_TINIEST = 2.0**-149
_LARGEST = 2.0**127
# Numbers of the embeddings that are multiplied at a time.
_BLOCK = 2**19
# Dimensions that are summed in float32; their sums in float64.
_PIECE = 256
# OpenBLAS multiplies by 8 vectors in half the time that it takes for 7.
_LANES = 8
# Sums are compared in whole numbers of a few limbs of so many bits.
_LIMB_BITS = 26
LIMBS = 4


class _Reach(NamedTuple):
    """The candidates that a trial may bring nearer to a centre.

    Args:
        positions (np.ndarray): int64 [H].
        low (np.ndarray): float64 [H], lower bounds of their squared distances
            to the trial.
        high (np.ndarray): float64 [H], upper bounds.
    """
    positions: np.ndarray
    low: np.ndarray
    high: np.ndarray


class GreedyD2Sampler:
    """Draws a few candidates with probabilities proportional to their
    (weighted) squared distance to the nearest centre; of these the one is
    taken that leaves the smallest potential, the sum of the (weighted)
    squared distances of all candidates.

    A draw is the race of :class:`D2Sampler`: its first is the winner, and the
    trials after it those that come next, so that no two are the same. The
    potential is what exact distances give, yet few of them are computed:
    one product in float32 tells every distance to within its rounding, and
    where the sums of two trials differ by more than all roundings together,
    the better one is known. Only where they do not, exact distances are
    computed of the images that the trials in question come near to. So
    neither the order of the pool nor how it is split changes who is taken.

    Time is O((L + trials·n)·N·D) for L centres at the start and n choices,
    each of which reads all embeddings; memory O(trials·N) and the centres
    besides these.

    Args:
        embeddings (np.ndarray): [N, D], may be memory-mapped.
        quantizer (Quantizer): Where distances are taken.
        candidates (np.ndarray): int64 [P], rows that may be drawn; where no
            probability is left the earlier ones win.
        centres (Centres): At least one; each that is added must be one that
            :meth:`choose` took.
        streams (SeededStreams): Of the P candidates.
        weights (np.ndarray, optional): float64 [P], in [0, 1], each
            multiplies a candidate's squared distance.
        trials (int): How many are drawn at a time.
        processes (Processes): Those that hold the other candidates.
    """

    def __init__(self, embeddings: np.ndarray, quantizer: Quantizer,
                 candidates: np.ndarray, centres: Centres,
                 streams: SeededStreams, weights: Optional[np.ndarray],
                 trials: int, processes: Processes) -> None:
        self._embeddings = embeddings
        self._quantizer = quantizer
        self._rows = candidates
        self._centres = centres
        self._streams = streams
        self._weights = weights
        self._trials = trials
        self._processes = processes
        # Where the rows of a file are read from front to back.
        self._by_row = np.argsort(candidates)
        self._sorted_rows = candidates[self._by_row]
        # Bounds of the squared distance to the nearest centre. They are equal
        # where it is known, and differ where centres came near since: those
        # from number `seen` on.
        self._high = nearest_squares(embeddings, quantizer, candidates,
                                     centres, len(centres))
        self._low = self._high.copy()
        self._seen = np.full(len(candidates), len(centres))
        self._left = np.ones(len(candidates), bool)
        self._race = np.zeros(len(candidates))
        # What products in float32 need, in the order of the rows.
        self._scales, self._norms, self._errors, self._floors = np.empty(
            (4, len(candidates)))
        self._longest = 0.0
        self._prepare_products()

    def best(self) -> list[int]:
        """The positions in ``candidates`` of the first of the race; fewer
        than ``trials``, or none, if so many are not left."""
        # The number of the draw is that of the centres, which all processes
        # agree on.
        clocks = self._streams.exponential(len(self._centres))
        self._race = weighted(self._high, self._weights) / clocks
        self._race[~self._left] = -np.inf
        number = self._trials
        while True:
            first, _ = largest(self._race, self._trials)
            if (self._low[first] == self._high[first]).all():
                order = np.lexsort((first, -self._race[first]))
                return first[order].tolist()
            # As in D2Sampler: bounds of the leaders may be out of date, and
            # nobody is among the first but who leads by them.
            positions, _ = largest(self._race, number)
            stale = positions[self._low[positions] < self._high[positions]]
            self._measure(stale)
            self._race[stale] = weighted(
                self._high[stale], self._weights, stale) / clocks[stale]
            number = 8 * number

    def value(self, position: int) -> float:
        """See :meth:`D2Sampler.value`."""
        return float(self._race[position])

    def quantized(self, position: int) -> np.ndarray:
        """See :meth:`D2Sampler.quantized`."""
        row = self._rows[position]
        return self._quantizer.quantize(self._embeddings[row:row + 1])[0]

    def take(self, position: int) -> None:
        """Make one that was offered, and chosen, no candidate any more."""
        self._left[position] = False
        self._low[position] = self._high[position] = 0

    def choose(self, cells: np.ndarray) -> int:
        """Which trial leaves the smallest potential, the first of equals.

        All processes call this with the same trials, also one that has no
        candidate left.

        Args:
            cells (np.ndarray): float64 [T, W], where they lie.

        Returns:
            int: Its number. It must be the next centre.
        """
        reaches = self._reaches(cells)
        winner = 0
        if len(cells) > 1:
            # Of each trial the least and the most that it takes off.
            sums = self._processes.gather(np.concatenate(
                [self._reductions(reach) for reach in reaches]))
            least, most = sums.sum(0).reshape(-1, 2).T
            rivals = np.flatnonzero(most >= least.max())
            winner = int(rivals[0])
            if len(rivals) > 1:
                winner = int(rivals[self._settle(
                    [reaches[i] for i in rivals], cells[rivals])])
        # The others are forgotten: nobody but the winner becomes a centre.
        near, low, high = reaches[winner]
        known = self._low[near] == self._high[near]
        self._seen[near[known]] = len(self._centres)
        self._low[near] = np.minimum(self._low[near], low)
        self._high[near] = np.minimum(self._high[near], high)
        return winner

    def _prepare_products(self) -> None:
        """Read all rows for what bounds the error of a product.

        A row x lies at ``q = scale·x - origin / step + d``, d the rounding to
        cells. Then ``q·c = scale·(x·c) - c·origin / step + d·c`` for a trial
        at c: the product x·c may be one of the stored rows, in float32.
        """
        quantizer = self._quantizer
        dim = self._embeddings.shape[1]
        for start, block in blocks(self._embeddings):
            low, high = np.searchsorted(self._sorted_rows,
                                        (start, start + len(block)))
            rows = block[self._sorted_rows[low:high] - start]
            cells = quantizer.real(quantizer.quantize(rows))
            norms = np.square(cells).sum(1)
            scales = quantizer.distance.scales(rows) / quantizer.step
            lengths = np.sqrt(np.square(rows).sum(1))
            # Higham, "Accuracy and Stability of Numerical Algorithms", 2002,
            # eq. 3.5: D eps |x| |c| whatever the order of the sum, D here
            # that of a piece; eight more for the rounding of x, c and scale.
            # It grows with |c|; what does not are the rounding of float64 and
            # numbers below float32's.
            self._errors[low:high] = 2 * (
                (min(dim, _PIECE) + 8) * _EPSILON * scales * lengths
                + np.sqrt(dim) / 2 / quantizer.parts)
            self._floors[low:high] = \
                self._rounding(norms) + 2 * dim * _TINIEST * scales
            self._norms[low:high] = norms
            self._scales[low:high] = -2 * scales
            self._longest = max(self._longest, lengths.max(initial=0))

    def _rounding(self, norms: np.ndarray) -> np.ndarray:
        """How much float64 may be off for cells of such squared norms."""
        return (self._embeddings.shape[1] + 32) * 2.0**-52 * norms

    @np.errstate(over='ignore', invalid='ignore')
    def _reaches(self, cells: np.ndarray) -> list[_Reach]:
        """Whom each of the trials [T, W] may bring nearer to a centre."""
        quantizer = self._quantizer
        trials = quantizer.real(cells)
        number, dim = trials.shape
        padded = np.zeros((-(-number // _LANES) * _LANES, dim), np.float32)
        padded[:number] = trials
        norms = np.square(trials).sum(1)
        lengths = np.sqrt(norms)[:, None]
        floors = self._rounding(norms)
        offsets = norms + 2 * (trials @ quantizer.origin) / quantizer.step \
            - floors
        overflows = not self._longest * lengths.max() < _LARGEST
        parts: list[list[tuple]] = [[] for _ in trials]
        step = max(1, _BLOCK // max(1, dim))
        for start in range(0, len(self._embeddings), step):
            low, high = np.searchsorted(self._sorted_rows,
                                        (start, start + step))
            if low == high:
                continue
            rows = self._embeddings[start:start + step]
            if high - low < len(rows):
                rows = rows[self._sorted_rows[low:high] - start]
            rows = np.asarray(rows, np.float32)
            products = np.zeros((number, len(rows)))
            for first in range(0, dim, _PIECE):
                piece = slice(first, first + _PIECE)
                products += (padded[:, piece] @ rows[:, piece].T)[:number]
            # The least that the squared distance may be beyond the bound
            # there is, but for what belongs to the trial.
            positions = self._by_row[low:high]
            of_rows = self._norms[low:high] - self._floors[low:high]
            beyond = products
            beyond *= self._scales[low:high]
            beyond += of_rows - self._high[positions]
            beyond -= self._errors[low:high] * lengths
            if overflows:  # which tells nothing
                beyond[~np.isfinite(beyond)] = -np.inf
            for trial, (least, part) in enumerate(zip(beyond, parts)):
                near = np.flatnonzero(least < -offsets[trial])
                part.append((positions[near], least[near], low + near))
        reaches = []
        for trial, part in enumerate(parts):
            near, low, index = (
                np.concatenate(c) for c in zip(*part)) if part else (
                    np.zeros(0, int), np.zeros(0), np.zeros(0, int))
            unknown = low == -np.inf
            low += self._high[near] + offsets[trial]
            high = low + 2 * (self._errors[index] * lengths[trial]
                              + self._floors[index] + floors[trial])
            high[unknown] = np.inf
            reaches.append(_Reach(near, np.maximum(low, 0), high))
        return reaches

    def _reductions(self, reach: _Reach) -> np.ndarray:
        """[2] by how much a trial lowers the potential, at least and at
        most."""
        near, low, high = reach
        least = np.maximum(self._low[near] - high, 0)
        most = np.maximum(self._high[near] - low, 0)
        if self._weights is not None:
            least *= self._weights[near]
            most *= self._weights[near]
        # Room for the rounding of these sums and of _settle's limbs.
        return np.array([
            least.sum() * (1 - 1e-9) - len(near) * limb_unit(LIMBS),
            most.sum() * (1 + 1e-9) + len(near) * limb_unit(LIMBS)])

    def _settle(self, reaches: list[_Reach], cells: np.ndarray) -> int:
        """The first trial with the largest exact reduction.

        The squared distances that are measured here are kept.
        """
        near = np.unique(np.concatenate([reach.positions
                                         for reach in reaches]))
        self._measure(near[self._low[near] < self._high[near]])
        norms = self._quantizer.square_norms(cells)
        sums = np.zeros((len(cells), LIMBS))
        exact = np.empty((len(cells), len(near)))
        for start, quantized in self._quantized(near):
            squares = self._quantizer.square_norms(quantized)
            for n in range(len(cells)):
                exact[n, start:start + len(quantized)] = \
                    self._quantizer.min_squares(
                        quantized, squares, cells[n:n + 1], norms[n:n + 1])
        for n, (reach, total) in enumerate(zip(reaches, sums)):
            squares = exact[n, np.searchsorted(near, reach.positions)]
            reach.low[:] = reach.high[:] = squares
            left = weighted(
                np.maximum(self._high[reach.positions] - squares, 0),
                self._weights, reach.positions)
            # Whole numbers are summed without rounding, in any order.
            for limb in range(LIMBS):
                digits = np.floor(left / limb_unit(limb + 1))
                total[limb] = digits.sum()
                left = left - digits * limb_unit(limb + 1)
        return first_largest(sums, self._processes)

    def _measure(self, positions: np.ndarray) -> None:
        """Find the exact squared distances to the nearest centre."""
        # Sorted by row, so that a file is read from front to back.
        positions = positions[np.argsort(self._rows[positions])]
        for start, cells in self._quantized(positions):
            chunk = positions[start:start + len(cells)]
            squares = self._centres.min_squares(
                cells, self._quantizer.square_norms(cells),
                int(self._seen[chunk].min()))
            # An upper bound of before is the exact distance to an earlier
            # centre, or lies above that to one of these.
            squares = np.minimum(squares, self._high[chunk])
            self._low[chunk] = self._high[chunk] = squares

    def _quantized(self, positions: np.ndarray
                   ) -> Iterator[tuple[int, np.ndarray]]:
        """Cells of candidates, some at a time, with their start."""
        for start in range(0, len(positions), CHUNK):
            yield start, self._quantizer.quantize(
                self._embeddings[self._rows[positions[start:start + CHUNK]]])


def limb_unit(limb: int) -> float:
    """What the last digit of a limb is worth, in squared cells; the limbs
    count from 1."""
    # A squared distance is below 2**54 cells, a weight at most 1.
    return 2.0**(54 - limb * _LIMB_BITS)


def first_largest(sums: np.ndarray, processes: Processes) -> int:
    """Which number is the largest, the first of equals.

    Args:
        sums (np.ndarray): float64 [T, LIMBS], the share that this process has
            in the sums of each limb; whole numbers.
        processes (Processes): Those that have the other shares.
    """
    sums = processes.gather(sums.ravel()).sum(0)
    totals = [sum(int(s) << (_LIMB_BITS * (LIMBS - 1 - limb))
                  for limb, s in enumerate(row))
              for row in sums.reshape(-1, LIMBS)]
    return totals.index(max(totals))
