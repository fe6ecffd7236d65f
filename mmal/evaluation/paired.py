"""Differences of two methods over runs that share their seeds."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from .ab import spread


@dataclass(frozen=True)
class PairedDifference:
    """Mean difference of pairs, and how far chance may have moved it.

    Args:
        mean (float): The mean of the differences, in the unit of the values.
        std (float, optional): Their sample standard deviation; None for one
            pair, as all that follows.
        low (float, optional): Lower end of the confidence interval of the
            mean.
        high (float, optional): Its upper end.
        p (float, optional): How probable a mean at least as far from 0 is,
            in [0, 1], if the true one is 0 (two-sided paired t-test). None
            too if all differences are 0, of which the test says nothing.
        count (int): How many pairs there are.
    """
    mean: float
    std: Optional[float]
    low: Optional[float]
    high: Optional[float]
    p: Optional[float]
    count: int


def paired_difference(first: Sequence[float],
                      second: Sequence[float],
                      level: float = 0.95) -> PairedDifference:
    """Paired t-test: by how much one method is above another.

    What a seed does to both methods alike (its first images, its initial
    weights) cancels in the difference, which two separate spreads would
    count twice. With differences d_1, …, d_n of mean m and sample standard
    deviation s the interval is

        m ± t s / √n,

    t the quantile of Student's distribution with n - 1 degrees of freedom.

    Args:
        first (Sequence[float]): Values of the method, by seed; n >= 1.
        second (Sequence[float]): Values of the other, in the same order.
        level (float): How often such an interval holds the true mean if the
            differences are normally distributed, in (0, 1).

    Raises:
        ValueError: If there is no pair or the lengths differ.

    Examples:
        >>> paired_difference([0.5, 0.75], [0.25, 0.25]).mean
        0.375
    """
    if not len(first) or len(first) != len(second):
        raise ValueError('paired values need as many of one method as of the '
                         f'other, at least one: got {len(first)} and '
                         f'{len(second)}.')
    of_pairs = spread(np.subtract(first, second).tolist())
    if of_pairs.std is None:
        return PairedDifference(of_pairs.mean, None, None, None, None, 1)
    from scipy.stats import t  # takes a second to import

    error = of_pairs.std / np.sqrt(of_pairs.count)
    half = error * t.ppf((1 + level) / 2, of_pairs.count - 1)
    p = None
    if error > 0:
        p = float(2 * t.sf(abs(of_pairs.mean) / error, of_pairs.count - 1))
    elif of_pairs.mean:  # equal differences, which chance does not give
        p = 0.0
    return PairedDifference(
        of_pairs.mean, of_pairs.std, float(of_pairs.mean - half),
        float(of_pairs.mean + half), p, of_pairs.count)
