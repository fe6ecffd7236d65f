"""Distances between embeddings, computed without rounding.

Greedy selection compares distances that differ in the last digits, and BLAS
rounds differently on another machine, or when it is given other rows at the
same time. Embeddings are therefore moved to a grid of integers so small that
float64 holds every product and sum exactly: whatever the order of summation,
the number of threads or of processes, a squared distance is one number.

A grid that reaches the longest embedding has few cells left for the others
where that one is an outlier. Each cell of the grid is then divided into a
second grid as fine as float64 allows; both parts are exact, and three of them
are added in a fixed order.
"""
from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from mmal.dist import Processes, raise_everywhere
from mmal.scores import Scores

# A norm has 25 bits, so a squared distance (at most twice the norm, squared)
# has 52 of the 53 that float64 holds.
_NORM_BITS = 25
# The second grid is used where a quarter of the pool lies nearer to the origin
# than this part of the longest: their cells would have less than 20 bits.
_NEAR = 2.0**-5
# Bits of a cell below which distances are refused.
_LEAST_BITS = 10
# So many images say where the middle of the pool is.
_MIDDLE = 15
# Of rows that are worked on at a time, and of their products with centres.
_BLOCK_BYTES = 2**22


class BaseDistance(metaclass=ABCMeta):
    """A distance that grows with the euclidean one after a projection."""

    @abstractmethod
    def project(self, rows: np.ndarray) -> np.ndarray:
        """Move embeddings to where euclidean distances are taken.

        Args:
            rows (np.ndarray): float64 [M, D].

        Returns:
            np.ndarray: float64 [M, D].
        """

    @abstractmethod
    def scales(self, rows: np.ndarray) -> np.ndarray:
        """What :meth:`project` multiplies each of the rows by, to within
        some roundings.

        Args:
            rows (np.ndarray): float64 [M, D].

        Returns:
            np.ndarray: float64 [M].
        """


class Euclidean(BaseDistance):
    """``||x - y||``."""

    def project(self, rows: np.ndarray) -> np.ndarray:
        """Leave the rows where they are."""
        return rows

    def scales(self, rows: np.ndarray) -> np.ndarray:
        """Ones."""
        return np.ones(len(rows))


class Cosine(BaseDistance):
    """``1 - cos(x, y)``, half the squared distance on the unit sphere.

    A vector of zeros has no direction: it is 1/2 from every other vector and
    0 from another one of zeros.
    """

    def project(self, rows: np.ndarray) -> np.ndarray:
        """Divide the rows by their lengths."""
        # By the largest entry first: its square may be too large or too small
        # for float64.
        largest = np.abs(rows).max(1, initial=0, keepdims=True)
        rows = rows / np.where(largest > 0, largest, 1)
        length = np.sqrt(_row_squares(rows))[:, None]
        return rows / np.where(length > 0, length, 1)

    def scales(self, rows: np.ndarray) -> np.ndarray:
        """One by the lengths; 0 for a row of zeros."""
        largest = np.abs(rows).max(1, initial=0)
        unit = np.where(largest > 0, largest, 1)
        length = np.sqrt(_row_squares(rows / unit[:, None]))
        return np.where(largest > 0, 1 / np.where(length > 0, length, 1), 0
                        ) / unit


DISTANCES: dict[str, type[BaseDistance]] = dict(
    euclidean=Euclidean, cosine=Cosine)


@dataclass(frozen=True)
class Quantizer:
    """Integers that stand for embeddings.

    Args:
        distance (BaseDistance): The distance.
        origin (np.ndarray): float64 [D], the middle after projection.
        step (float): The size of a cell, a power of two.
        parts (int): Into how many parts each side of a cell is divided, a
            power of two; 1 for no second grid.
    """
    distance: BaseDistance
    origin: np.ndarray
    step: float
    parts: int = 1

    @property
    def width(self) -> int:
        """W, the whole numbers of an embedding: D, or 2 D with two grids."""
        return len(self.origin) * (1 + (self.parts > 1))

    def quantize(self, rows: np.ndarray) -> np.ndarray:
        """The cells of embeddings.

        Args:
            rows (np.ndarray): [M, D] of any float type.

        Returns:
            np.ndarray: float64 [M, W], whole numbers; those of the second
            grid after those of the first.
        """
        cells = self.distance.project(np.array(rows, np.float64))
        # Around images of the pool: embeddings far from zero but close to
        # each other would otherwise share a few cells.
        cells -= self.origin
        cells *= 1 / self.step  # exact: a power of two
        if self.parts == 1:
            return np.rint(cells, out=cells)
        coarse = np.rint(cells)
        fine = np.rint((cells - coarse) * self.parts)
        return np.concatenate([coarse, fine], axis=1)

    def real(self, cells: np.ndarray) -> np.ndarray:
        """float64 [M, D] where cells [M, W] lie, in sides of the first
        grid."""
        if self.parts == 1:
            return cells
        coarse, fine = np.split(cells, 2, axis=1)
        return coarse + fine / self.parts

    def square_norms(self, cells: np.ndarray) -> np.ndarray:
        """[M, 1 or 3] exact inner products of cells [M, W] with themselves:
        of the first grid, of both, and of the second."""
        if self.parts == 1:
            return np.einsum('md,md->m', cells, cells)[:, None]
        grids = np.split(cells, 2, axis=1)
        pairs = ((0, 0), (0, 1), (1, 1))
        return np.stack([np.einsum('md,md->m', grids[a], grids[b])
                         for a, b in pairs], axis=1)

    def min_squares(self, cells: np.ndarray, norms: np.ndarray,
                    centres: np.ndarray,
                    centre_norms: np.ndarray) -> np.ndarray:
        """The squared distance of each cell to the nearest centre.

        Costs M·K·D multiplications in matrix products, four times as many
        with two grids, and memory for M times a block of centres.

        Args:
            cells (np.ndarray): float64 [M, W].
            norms (np.ndarray): Their :meth:`square_norms`.
            centres (np.ndarray): float64 [K, W], K >= 1.
            centre_norms (np.ndarray): Their :meth:`square_norms`.

        Returns:
            np.ndarray: float64 [M], the same for every split of the rows; in
            squared cells, exact with one grid and rounded twice with two.
        """
        width = max(1, _BLOCK_BYTES // (8 * max(1, len(cells))))
        best = np.full(len(cells), np.inf)
        for start in range(0, len(centres), width):
            block = slice(start, start + width)
            # |x - c|^2 = |x|^2 - 2 x·c + |c|^2 makes it a matrix product. In
            # floating point this cancels badly; whole numbers do not round.
            if self.parts == 1:
                squares = cells @ centres[block].T
                squares *= -2
                squares += centre_norms[block, 0]
                np.minimum(best, squares.min(1), out=best)
                continue
            # The same for x = h + l / parts: the products of the differences
            # of h and l are whole numbers too, and only their sum is rounded.
            h, low = np.split(cells, 2, axis=1)
            ch, cl = np.split(centres[block], 2, axis=1)
            n, cn = norms[:, :, None], centre_norms[block].T
            squares = n[:, 2] + cn[2] - 2 * (low @ cl.T)
            squares /= self.parts
            squares += 2 * (n[:, 1] + cn[1] - h @ cl.T - low @ ch.T)
            squares /= self.parts
            squares += n[:, 0] + cn[0] - 2 * (h @ ch.T)
            np.minimum(best, squares.min(1), out=best)
        if self.parts == 1:
            return best + norms[:, 0]
        return np.maximum(best, 0, out=best)  # neighbours of the last bit


def parts_for(dim: int) -> int:
    """How often the second grid divides a cell of D dimensions.

    What is left of an embedding inside a cell may be half as long as the
    diagonal, sqrt(D) sides, and has to fit into the bits of a norm.

    Args:
        dim (int): D.

    Returns:
        int: A power of two; whole numbers of the second grid have norms of
        at most 25 bits.
    """
    diagonal = int(np.ceil(np.log2(max(1, dim)) / 2))
    return 2**max(0, _NORM_BITS + 1 - diagonal)


def quantizer_for(distance: BaseDistance, embeddings: np.ndarray,
                  scores: Scores, labelled: Optional[np.ndarray],
                  processes: Processes) -> Quantizer:
    """A grid around the pool, the same in every process.

    Args:
        distance (BaseDistance): The distance.
        embeddings (np.ndarray): [N, D] of the images of this process.
        scores (Scores): Of the same.
        labelled (np.ndarray, optional): [L, D], all of them in every process.
        processes (Processes): How they talk.

    Raises:
        ValueError: If a value is NaN or infinite, or a few embeddings are so
            long that no grid can tell the others apart.
    """
    # The origin is the median of the images with the smallest tiebreaks, as
    # all cells should be near it. Every split of the pool agrees on these,
    # and outliers among them do not move it.
    dim = embeddings.shape[1]
    rows = np.argsort(scores.tiebreak, kind='stable')[:_MIDDLE]
    shown = np.full((_MIDDLE, dim + 1), np.inf)
    with np.errstate(invalid='ignore'):  # told below, with the image's name
        shown[:len(rows), 0] = np.asarray(scores.tiebreak)[rows]
        shown[:len(rows), 1:] = distance.project(
            np.asarray(embeddings[rows], np.float64))
        shown = processes.gather(shown.ravel()).reshape(-1, dim + 1)
        shown = shown[np.argsort(shown[:, 0], kind='stable')[:_MIDDLE]]
        origin = np.median(shown[shown[:, 0] < np.inf, 1:], axis=0)

    def radii() -> tuple[np.ndarray, float]:
        own = square_radii(distance, embeddings, origin, scores.ids)
        others = np.zeros(0) if labelled is None else \
            square_radii(distance, labelled, origin)
        return own, float(others.max(initial=0))

    own, farthest_labelled = raise_everywhere(processes, radii)
    farthest = own.max(initial=0)
    # How far the nearer ones are is read from their exponents, which are
    # counted exactly whatever the split. Copies of the origin do not count.
    exponents = np.frexp(own[own > 0])[1]
    counts = np.bincount(exponents + 1100, minlength=2200)
    table = processes.gather(
        np.concatenate([[farthest, farthest_labelled], counts]))
    square = float(table[:, :2].max())
    counts = table[:, 2:].sum(0)
    if not counts.any():
        return Quantizer(distance, origin, step_for(np.sqrt(square)))
    quarter, half = (
        2.0**((np.searchsorted(counts.cumsum(), counts.sum() * share) - 1100)
              / 2) for share in (0.25, 0.5))
    radius = float(np.sqrt(square))
    step = step_for(radius)
    parts = parts_for(dim) if quarter < _NEAR * radius else 1
    if half * parts < step * 2**_LEAST_BITS:
        is_own = len(own) and farthest == square
        names = processes.gather_objects(
            scores.ids[int(own.argmax())] if is_own else None)
        image = next((n for n in names if n is not None), 'that is labelled')
        raise ValueError(
            f'the embedding of the image {image} is {radius:.2g} from the '
            f'middle of the pool, but those of half of the images are within '
            f'{half:.2g}: their distances are lost in rounding. Leave such '
            "images out, or use distance='cosine'.")
    return Quantizer(distance, origin, step, parts)


def step_for(radius: float) -> float:
    """The size of a cell for embeddings at most ``radius`` from the origin.

    Args:
        radius (float): The largest norm, at least 0.

    Returns:
        float: A power of two, at most ``radius`` * 2**-24; 1 for no radius.
    """
    if radius == 0:
        return 1.0
    return float(np.ldexp(1.0, int(np.frexp(radius)[1]) - _NORM_BITS))


def square_radii(distance: BaseDistance,
                 embeddings: np.ndarray,
                 origin: np.ndarray,
                 ids: Optional[Sequence] = None) -> np.ndarray:
    """Squared distances of embeddings from the origin after projection.

    Args:
        distance (BaseDistance): The distance.
        embeddings (np.ndarray): [N, D]; may be memory-mapped, it is read in
            blocks.
        origin (np.ndarray): float64 [D].
        ids (sequence, optional): Names of the N images, for the error.

    Returns:
        np.ndarray: float64 [N].

    Raises:
        ValueError: If a value is NaN or infinite.
    """
    squares = np.empty(len(embeddings))
    for start, block in blocks(embeddings):
        check_finite(block, start, ids)
        offsets = distance.project(block) - origin
        squares[start:start + len(block)] = _row_squares(offsets)
    return squares


def blocks(embeddings: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Embeddings as float64, a few megabytes at a time, with their start."""
    rows = block_rows(embeddings.shape[1])
    for start in range(0, len(embeddings), rows):
        yield start, np.asarray(embeddings[start:start + rows], np.float64)


def block_rows(dim: int) -> int:
    """How many rows of float64 make a block."""
    return max(1, _BLOCK_BYTES // (8 * max(1, dim)))


def _row_squares(rows: np.ndarray) -> np.ndarray:
    # A sum over the last axis does not depend on the other rows, einsum's may.
    return np.square(rows).sum(1)


def check_finite(block: np.ndarray,
                 start: int,
                 ids: Optional[Sequence] = None) -> None:
    """Raise a ValueError if embeddings, the first of which belongs to image
    number ``start``, are NaN or infinite."""
    overflowed = np.flatnonzero(~np.isfinite(block).all(1))
    if len(overflowed):
        number = start + overflowed[0]
        name = f'number {number} (counted from 0)' if ids is None else \
            ids[number]
        raise ValueError(
            f'the embedding of image {name} has values that are NaN or '
            'infinite: the model overflowed. Check that the training loss is '
            'finite.')
