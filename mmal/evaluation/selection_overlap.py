"""How alike the images are that different scores would choose.

"Deep Active Learning for Object Detection with Mixture Density Networks",
table 6.
"""
from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Optional

import numpy as np


def highest(values: Sequence[float],
            n: int,
            tiebreak: Optional[Sequence[float]] = None) -> np.ndarray:
    """Positions of the n highest values.

    Args:
        values (Sequence[float]): N values; ``-inf`` comes last.
        n (int): How many, 0 <= n <= N.
        tiebreak (Sequence[float], optional): N values that settle equal ones,
            the smaller goes first. Default: the position.

    Returns:
        np.ndarray: int64 [n], the highest first.

    Raises:
        ValueError: If a value is NaN, lengths differ or n is out of range.

    Examples:
        >>> highest([1.0, 3.0, 2.0, 3.0], 3).tolist()
        [1, 3, 2]
    """
    values = np.asarray(values, dtype=np.float64)
    ties = np.arange(len(values)) if tiebreak is None else \
        np.asarray(tiebreak, dtype=np.float64)
    if np.isnan(values).any():
        raise ValueError(f'{np.isnan(values).sum()} values are NaN: they '
                         'have no order.')
    if ties.shape != values.shape:
        raise ValueError(f'{len(values)} values, but {len(ties)} tiebreaks.')
    if not 0 <= n <= len(values):
        raise ValueError(f'cannot choose {n} of {len(values)} images: ask '
                         f'for 0 to {len(values)}.')
    # the last key of lexsort counts first
    return np.lexsort((ties, -values))[:n]


def shared_percent(first: Collection, second: Collection) -> float:
    """Percent of the smaller selection that is in the larger one too.

    Budgets in boxes give selections of different sizes; what they could share
    at most is the smaller one.

    Args:
        first (Collection): Different image ids, at least one.
        second (Collection): Different image ids, at least one.

    Raises:
        ValueError: If a selection is empty.

    Examples:
        >>> shared_percent([1, 2, 3, 4], [3, 4, 5, 6, 7])
        50.0
    """
    size = min(len(first), len(second))
    if not size:
        raise ValueError('an empty selection shares no image with another.')
    return 100 * len(set(first) & set(second)) / size


def overlap_matrix(chosen: Sequence[Sequence]) -> np.ndarray:
    """Percent of the images that each two selections share.

    Args:
        chosen (Sequence[Sequence]): U selections, n different image ids each,
            n >= 1.

    Returns:
        np.ndarray: float64 [U, U] in [0, 100], symmetric, 100 on the diagonal.

    Raises:
        ValueError: If a selection is empty, repeats an id or is of another
            size than the first.

    Examples:
        >>> overlap_matrix([[1, 2, 3, 4], [3, 4, 5, 6]]).tolist()
        [[100.0, 50.0], [50.0, 100.0]]
    """
    # sizes of lists and of sets: they differ where an id comes twice
    sets = [set(ids) for ids in chosen]
    sizes = {len(ids) for ids in chosen} | {len(ids) for ids in sets}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(
            'selections to compare must have as many different images each, '
            f'at least one; their sizes are {[len(c) for c in chosen]}, '
            f'{[len(s) for s in sets]} without repetitions.')
    size = sizes.pop()
    shared = [[len(a & b) for b in sets] for a in sets]
    return 100.0 * np.array(shared) / size
