"""Embeddings of images as points of a plane."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Enough for the two widest directions, and for a picture.
FITTED, SHOWN = 1500, 3000


@dataclass(frozen=True)
class EmbeddingMap:
    """The first two principal components of n images.

    Args:
        rows (np.ndarray): int64 [n], which rows of the embeddings they are.
        points (np.ndarray): float64 [n, 2].
        explained (tuple[float, float]): The share of the variance along
            either axis, in [0, 1].
    """
    rows: np.ndarray
    points: np.ndarray
    explained: tuple[float, float]


def map_embeddings(embeddings: np.ndarray, keep: np.ndarray) -> EmbeddingMap:
    """Principal components (Pearson, 1901) of a sample, and where images lie.

    At most ``FITTED`` rows are decomposed and ``SHOWN`` are placed, whatever
    N: O(FITTED² · D).

    Args:
        embeddings (np.ndarray): [N, D], may be memory-mapped; N at least 1.
        keep (np.ndarray): bool [N], rows to show whatever their number. Of the
            others a regular sample is shown.

    Returns:
        EmbeddingMap: Rows ascending. The sign of an axis is such that its
        largest weight is positive.
    """
    number = len(embeddings)
    others = np.flatnonzero(~keep)
    left = max(0, SHOWN - int(keep.sum()))
    others = others[_spread(len(others), left)]
    rows = np.sort(np.concatenate([np.flatnonzero(keep), others]))

    sample = np.asarray(embeddings[_spread(number, FITTED)], dtype=np.float64)
    mean = sample.mean(0)
    _, lengths, axes = np.linalg.svd(sample - mean, full_matrices=False)
    axes = axes[:2]
    if len(axes) < 2:  # one image, or one number of each
        axes = np.concatenate([axes, np.zeros((2 - len(axes), len(mean)))])
    strongest = np.take_along_axis(
        axes, np.abs(axes).argmax(1)[:, None], axis=1)
    axes = axes * np.where(strongest < 0, -1.0, 1.0)
    variances = np.square(lengths)
    total = variances.sum() or 1.0
    shares = [*(variances / total), 0.0, 0.0][:2]
    points = (np.asarray(embeddings[rows], dtype=np.float64) - mean) @ axes.T
    return EmbeddingMap(rows, points, (float(shares[0]), float(shares[1])))


def _spread(number: int, most: int) -> np.ndarray:
    """At most so many of ``range(number)``, at equal distances."""
    if number <= most:
        return np.arange(number)
    return np.linspace(0, number - 1, most).round().astype(np.int64) \
        if most else np.arange(0)
