"""Choosing images on a GPU: the same ones as on the CPU.

Distances are exact (:class:`Quantizer`), so it does not matter that a GPU
sums in another order. It is fast enough to measure all candidates for every
choice, where the CPU avoids most of that.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

import numpy as np
import torch
from torch import Tensor

from mmal.dist import Processes
from mmal.randomness import SeededStreams
from .devices import RowsOnDevice
from .distances import Quantizer
from .greedy_d2_sampling import LIMBS, first_largest, limb_unit
from .lazy_greedy import Centres, largest, weighted

# Of products with centres at a time.
_PRODUCTS = 2**24


class NearestOnDevice:
    """The squared distance of every candidate to its nearest centre.

    Args:
        embeddings (np.ndarray): [N, D], may be memory-mapped.
        quantizer (Quantizer): Where distances are taken.
        candidates (np.ndarray): int64 [P], rows of the embeddings.
        centres (Centres): At least one; more may be added at any time.
        device (torch.device): Where they are measured.
    """

    def __init__(self, embeddings: np.ndarray, quantizer: Quantizer,
                 candidates: np.ndarray, centres: Centres,
                 device: torch.device) -> None:
        self._centres = centres
        self._seen = 0
        self._parts = quantizer.parts

        def quantized(start: int, stop: int) -> np.ndarray:
            # Sorted by row, so that a file is read from front to back.
            rows = candidates[start:stop]
            order = np.argsort(rows)
            cells = np.empty((len(rows), quantizer.width))
            cells[order] = quantizer.quantize(embeddings[rows[order]])
            return cells

        self._cells = RowsOnDevice(quantized, len(candidates),
                                   quantizer.width, device)
        self._norms = torch.empty(
            len(candidates), 1 if self._parts == 1 else 3,
            dtype=torch.float64, device=device)
        for start, cells in self._cells:
            self._norms[start:start + len(cells)] = self._square_norms(cells)
        self.squares = self._norms.new_full((len(candidates), ), np.inf)

    def update(self) -> None:
        """Measure the distances to the centres that came since."""
        centres = self._centres.since(self._seen)
        self._seen = len(self._centres)
        for start, _, squares in self.measure(centres):
            nearest = self.squares[start:start + len(squares)]
            torch.minimum(nearest, squares.amin(1), out=nearest)

    def measure(self, centres: np.ndarray
                ) -> Iterator[tuple[int, int, Tensor]]:
        """The squared distances to some centres, many at a time.

        Args:
            centres (np.ndarray): float64 [K, W].

        Yields:
            tuple[int, int, Tensor]: The first candidate, the first centre,
            and float64 [M, L] of the next M and L of these; to the last bit
            what :meth:`Quantizer.min_squares` takes the minimum of.
        """
        of_all = torch.from_numpy(centres).to(self.squares.device,
                                              non_blocking=True)
        for start, cells in self._cells:
            norms = self._norms[start:start + len(cells)]
            step = max(1, _PRODUCTS // len(cells))
            for first in range(0, len(centres), step):
                yield start, first, self._squares(
                    cells, norms, of_all[first:first + step])

    def _squares(self, cells: Tensor, norms: Tensor,
                 centres: Tensor) -> Tensor:
        # as in Quantizer.min_squares, where the reasons are
        centre_norms = self._square_norms(centres).T
        n, cn = norms[:, :, None], centre_norms
        if self._parts == 1:
            squares = cells @ centres.T
            squares *= -2
            squares += cn[0]
            squares += n[:, 0]
            return squares
        h, low = cells.chunk(2, 1)
        ch, cl = centres.chunk(2, 1)
        squares = n[:, 2] + cn[2] - 2 * (low @ cl.T)
        squares /= self._parts
        squares += 2 * (n[:, 1] + cn[1] - h @ cl.T - low @ ch.T)
        squares /= self._parts
        squares += n[:, 0] + cn[0] - 2 * (h @ ch.T)
        return squares.clamp_(min=0)

    def _square_norms(self, cells: Tensor) -> Tensor:
        """See :meth:`Quantizer.square_norms`."""
        if self._parts == 1:
            return cells.square().sum(1, keepdim=True)
        h, low = cells.chunk(2, 1)
        return torch.stack([(a * b).sum(1)
                            for a, b in ((h, h), (h, low), (low, low))], 1)


class KCenterOnDevice:
    """Finds the candidate with the largest (weighted) distance to its nearest
    centre, as :class:`LazyGreedyKCenter`, but measures all of them.

    O(N·D) for each choice, whatever the embeddings, one wait for a GPU, and
    N·D numbers of its memory.

    Args:
        device (torch.device): Where distances are measured; the others are
            those of :class:`LazyGreedyKCenter`.
    """

    def __init__(self, embeddings: np.ndarray, quantizer: Quantizer,
                 candidates: np.ndarray, centres: Centres,
                 weights: Optional[np.ndarray],
                 device: torch.device) -> None:
        self._embeddings = embeddings
        self._quantizer = quantizer
        self._rows = candidates
        self._nearest = NearestOnDevice(embeddings, quantizer, candidates,
                                        centres, device)
        self._weights = None if weights is None else \
            torch.from_numpy(weights).to(device)
        self._left = torch.ones(len(candidates), dtype=torch.bool,
                                device=device)
        self._value = -np.inf

    def best(self) -> list[int]:
        """See :meth:`LazyGreedyKCenter.best`."""
        if not len(self._rows):
            return []
        self._nearest.update()
        values = self._nearest.squares
        if self._weights is not None:
            values = values * self._weights
        values = values.masked_fill(~self._left, -np.inf)
        # argmax takes the first one of equals; one wait for both numbers
        self._value, position = torch.stack(
            [values.amax(), values.argmax().double()]).tolist()
        return [int(position)] if self._value > -np.inf else []

    def value(self, position: int) -> float:
        """See :meth:`LazyGreedyKCenter.value`."""
        return self._value

    def quantized(self, position: int) -> np.ndarray:
        """See :meth:`LazyGreedyKCenter.quantized`."""
        row = self._rows[position]
        return self._quantizer.quantize(self._embeddings[row:row + 1])[0]

    def choose(self, cells: np.ndarray) -> int:
        """See :meth:`LazyGreedyKCenter.choose`."""
        return 0

    def take(self, position: int) -> None:
        """See :meth:`LazyGreedyKCenter.take`."""
        self._left[position:position + 1].fill_(False)


class D2SamplerOnDevice:
    """Draws candidates as :class:`D2Sampler` and :class:`GreedyD2Sampler` do,
    but measures all distances.

    O(trials·N·D) for each choice, a copy of N numbers from the GPU, as the
    random numbers are drawn on the CPU, and N·D numbers of its memory.

    Args:
        device (torch.device): Where distances are measured; the others are
            those of :class:`GreedyD2Sampler`.
    """

    def __init__(self, embeddings: np.ndarray, quantizer: Quantizer,
                 candidates: np.ndarray, centres: Centres,
                 streams: SeededStreams, weights: Optional[np.ndarray],
                 trials: int, processes: Processes,
                 device: torch.device) -> None:
        self._embeddings = embeddings
        self._quantizer = quantizer
        self._rows = candidates
        self._centres = centres
        self._streams = streams
        self._weights = weights
        self._trials = trials
        self._processes = processes
        self._nearest = NearestOnDevice(embeddings, quantizer, candidates,
                                        centres, device)
        self._weights_there = None if weights is None else \
            torch.from_numpy(weights).to(device)
        self._left = np.ones(len(candidates), bool)
        self._race = np.zeros(len(candidates))

    def best(self) -> list[int]:
        """See :meth:`GreedyD2Sampler.best`."""
        if not len(self._rows):
            return []
        self._nearest.update()
        squares = self._nearest.squares.cpu().numpy()
        self._race = weighted(squares, self._weights) / \
            self._streams.exponential(len(self._centres))
        self._race[~self._left] = -np.inf
        first, _ = largest(self._race, self._trials)
        return first[np.lexsort((first, -self._race[first]))].tolist()

    def value(self, position: int) -> float:
        """See :meth:`D2Sampler.value`."""
        return float(self._race[position])

    def quantized(self, position: int) -> np.ndarray:
        """See :meth:`D2Sampler.quantized`."""
        row = self._rows[position]
        return self._quantizer.quantize(self._embeddings[row:row + 1])[0]

    def choose(self, cells: np.ndarray) -> int:
        """See :meth:`GreedyD2Sampler.choose`."""
        if len(cells) == 1:
            return 0
        # Whole numbers are summed without rounding, in any order.
        nearest = self._nearest.squares
        sums = nearest.new_zeros(len(cells), LIMBS)
        for start, first, squares in self._nearest.measure(cells):
            part = slice(start, start + len(squares))
            left = (nearest[part, None] - squares).clamp_(min=0)
            if self._weights_there is not None:
                left *= self._weights_there[part, None]
            for limb in range(LIMBS):
                digits = (left / limb_unit(limb + 1)).floor_()
                sums[first:first + squares.shape[1], limb] += digits.sum(0)
                left -= digits * limb_unit(limb + 1)
        return first_largest(sums.cpu().numpy(), self._processes)

    def take(self, position: int) -> None:
        """See :meth:`D2Sampler.take`."""
        self._left[position] = False
