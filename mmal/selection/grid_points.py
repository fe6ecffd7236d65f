"""Embeddings as points of a grid, on which distances are not rounded."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

import numpy as np

from mmal.dist import SingleProcess
from mmal.scores import Scores
from .base import BaseSelector, check_labelled, check_rows
from .distances import (
    BaseDistance,
    block_rows,
    check_finite,
    quantizer_for,
)


class GridPoints:
    """The images of a pool, and after them the labelled ones, as points.

    Their coordinates are whole numbers, in which :class:`Quantizer` keeps
    products exact: a squared distance, and the sum of many points, is the
    same on every machine and in every order. (Where a few embeddings are far
    longer than the others, a second grid gives fractions, and distances are
    rounded as usual.) Points are read in blocks; nothing but the embeddings
    holds them.

    Args:
        distance (BaseDistance): Of which kind.
        scores (Scores): Of the images.
        embeddings (np.ndarray): [N, D], may be memory-mapped.
        labelled (np.ndarray, optional): [L, D].
        rows (np.ndarray): int64 [P], which of the N images are points.

    Attributes:
        images (int): P, how many points are images.

    Raises:
        ValueError: If an embedding is not finite.
    """

    def __init__(self, distance: BaseDistance, scores: Scores,
                 embeddings: np.ndarray, labelled: Optional[np.ndarray],
                 rows: np.ndarray) -> None:
        if labelled is None:
            labelled = np.zeros((0, embeddings.shape[1]), np.float32)
        self._quantizer = quantizer_for(distance, embeddings, scores,
                                        labelled, SingleProcess())
        self._embeddings = embeddings
        self._labelled = labelled
        self.rows = rows
        self.images = len(rows)

    def __len__(self) -> int:
        return self.images + len(self._labelled)

    @property
    def side(self) -> float:
        """The distance of neighbours on the grid, in that of embeddings."""
        return self._quantizer.step

    def take(self, index: np.ndarray) -> np.ndarray:
        """float64 [M, D], some of the points.

        Args:
            index (np.ndarray): int64 [M], images first, labelled ones then.
        """
        index = np.asarray(index)
        is_image = index < self.images
        rows = np.empty((len(index), self._embeddings.shape[1]))
        rows[is_image] = self._embeddings[self.rows[index[is_image]]]
        rows[~is_image] = self._labelled[index[~is_image] - self.images]
        return self._quantizer.real(self._quantizer.quantize(rows))

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """All points, float64 [M, D], some megabytes at a time, and which
        these are."""
        step = block_rows(self._embeddings.shape[1])
        for start in range(0, len(self), step):
            block = slice(start, min(start + step, len(self)))
            yield block, self.take(np.arange(block.start, block.stop))


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """float64 [M, K], between points [M, D] and points [K, D].

    A matrix product, exact where both are whole numbers of a quantizer.
    """
    squares = x @ y.T
    squares *= -2
    squares += np.einsum('md,md->m', x, x)[:, None]
    squares += np.einsum('kd,kd->k', y, y)
    return np.maximum(squares, 0, out=squares)


def check_embedded(selector: BaseSelector, scores: Scores,
                   embeddings: Optional[np.ndarray],
                   labelled: Optional[np.ndarray]) -> None:
    """Raise a ValueError unless all that a selector needs is there.

    Args:
        selector (BaseSelector): Its ``needs_labelled`` counts.
        scores, embeddings, labelled: See :meth:`BaseSelector.order`.
    """
    name = type(selector).__name__
    check_rows(name, 'embeddings', embeddings, len(scores))
    if not selector.needs_labelled:
        return
    check_labelled(name, labelled, embeddings, least=0)
    check_finite(np.asarray(labelled), 0)
