"""Distances between embeddings, computed without rounding.

Greedy selection compares distances that differ in the last digits, and BLAS
rounds differently on another machine, or when it is given other rows at the
same time. Embeddings are therefore moved to a grid of integers so small that
float64 holds every product and sum exactly: whatever the order of summation,
the number of threads or of processes, a squared distance is one number.
"""
from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

# A norm has 25 bits, so a squared distance (at most twice the norm, squared)
# has 52 of the 53 that float64 holds.
_NORM_BITS = 25
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


class Euclidean(BaseDistance):
    """``||x - y||``."""

    def project(self, rows: np.ndarray) -> np.ndarray:
        """Leave the rows where they are."""
        return rows


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


DISTANCES: dict[str, type[BaseDistance]] = dict(
    euclidean=Euclidean, cosine=Cosine)


@dataclass(frozen=True)
class Quantizer:
    """Integers that stand for embeddings.

    Args:
        distance (BaseDistance): The distance.
        origin (np.ndarray): float64 [D]; an embedding after projection.
        step (float): The size of a cell, a power of two.
    """
    distance: BaseDistance
    origin: np.ndarray
    step: float

    def quantize(self, rows: np.ndarray) -> np.ndarray:
        """The cells of embeddings.

        Args:
            rows (np.ndarray): [M, D] of any float type.

        Returns:
            np.ndarray: float64 [M, D], whole numbers.
        """
        cells = self.distance.project(np.array(rows, np.float64))
        # Around an image of the pool: embeddings far from zero but close to
        # each other would otherwise share a few cells.
        cells -= self.origin
        cells *= 1 / self.step  # exact: a power of two
        return np.rint(cells, out=cells)


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


def radius_of(distance: BaseDistance,
              embeddings: np.ndarray,
              origin: np.ndarray,
              ids: Optional[Sequence] = None) -> float:
    """The largest distance of embeddings from the origin after projection.

    Args:
        distance (BaseDistance): The distance.
        embeddings (np.ndarray): [N, D]; may be memory-mapped, it is read in
            blocks.
        origin (np.ndarray): float64 [D].
        ids (sequence, optional): Names of the N images, for the error.

    Returns:
        float: 0 if there are no embeddings.

    Raises:
        ValueError: If a value is NaN or infinite.
    """
    largest = 0.0
    for start, block in blocks(embeddings):
        check_finite(block, start, ids)
        offsets = distance.project(block) - origin
        largest = max(largest, _row_squares(offsets).max(initial=0))
    return float(np.sqrt(largest))


def blocks(embeddings: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Embeddings as float64, a few megabytes at a time, with their start."""
    rows = block_rows(embeddings.shape[1])
    for start in range(0, len(embeddings), rows):
        yield start, np.asarray(embeddings[start:start + rows], np.float64)


def block_rows(dim: int) -> int:
    """How many rows of float64 make a block."""
    return max(1, _BLOCK_BYTES // (8 * max(1, dim)))


def squared_norms(cells: np.ndarray) -> np.ndarray:
    """[M] squared norms of cells [M, D]; exact."""
    return np.einsum('md,md->m', cells, cells)


def min_squares(cells: np.ndarray, norms: np.ndarray, centres: np.ndarray,
                centre_norms: np.ndarray) -> np.ndarray:
    """The squared distance of each cell to the nearest centre; exact.

    Costs M·K·D multiplications in matrix products, and memory for M times a
    block of centres.

    Args:
        cells (np.ndarray): float64 [M, D], whole numbers of a
            :class:`Quantizer`.
        norms (np.ndarray): [M], their :func:`squared_norms`.
        centres (np.ndarray): float64 [K, D] of the same grid, K >= 1.
        centre_norms (np.ndarray): [K].

    Returns:
        np.ndarray: float64 [M].
    """
    width = max(1, _BLOCK_BYTES // (8 * max(1, len(cells))))
    best = np.full(len(cells), np.inf)
    for start in range(0, len(centres), width):
        block = slice(start, start + width)
        # |x - c|^2 = |x|^2 - 2 x·c + |c|^2 makes it a matrix product. In
        # floating point this cancels badly; whole numbers do not round.
        squares = cells @ centres[block].T
        squares *= -2
        squares += centre_norms[block]
        np.minimum(best, squares.min(1), out=best)
    return best + norms


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
