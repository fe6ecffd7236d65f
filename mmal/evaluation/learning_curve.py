"""Numbers that sum up a learning curve: its area, and the cost of a target.

Costs are boxes or images, values are AP in [0, 1]; both are plain sequences
ordered by round. Between two rounds a curve is taken as a straight line.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from .ab import relative_change

Series = tuple[Sequence[float], Sequence[float]]


def area_under_curve(costs: Sequence[float],
                     values: Sequence[float],
                     low: Optional[float] = None,
                     high: Optional[float] = None) -> float:
    """Mean height of a learning curve over an interval of costs.

    The trapezoid area divided by the length of the interval, so that it has
    the unit of ``values``. To compare two methods give both the same
    interval, inside the costs of both.

    Args:
        costs (Sequence[float]): Boxes or images of each round, never falling;
            N values, N >= 1.
        values (Sequence[float]): AP of each round; N values.
        low (float, optional): Start of the interval. Default: first cost.
        high (float, optional): End of the interval. Default: last cost.

    Returns:
        float: The mean height; the value itself where ``low == high``.

    Raises:
        ValueError: If the curve is empty, holds NaN, its costs fall, or the
            interval is not inside its costs.

    Examples:
        >>> area_under_curve([100, 200, 400], [0.1, 0.3, 0.3])
        0.26666666666666666
        >>> area_under_curve([100, 200, 400], [0.1, 0.3, 0.3], high=200)
        0.2
    """
    x, y = _check(costs, values)
    low = x[0] if low is None else low
    high = x[-1] if high is None else high
    if not x[0] <= low <= high <= x[-1]:
        raise ValueError(
            f'the interval {low} to {high} is not inside the costs of the '
            f'curve, {x[0]} to {x[-1]}')
    if low == high:
        return float(np.interp(low, x, y))
    # Rounds may share a cost, where the curve jumps: the interval begins
    # after the jump at its lower end, and ends before that at its upper one.
    at_low, at_high = np.flatnonzero(x == low), np.flatnonzero(x == high)
    first = y[at_low[-1]] if len(at_low) else np.interp(low, x, y)
    last = y[at_high[0]] if len(at_high) else np.interp(high, x, y)
    inside = (x > low) & (x < high)
    grid = np.concatenate(([low], x[inside], [high]))
    heights = np.concatenate(([first], y[inside], [last]))
    area = np.sum(np.diff(grid) * (heights[1:] + heights[:-1]) / 2)
    return float(area / (high - low))


def cost_needed(costs: Sequence[float], values: Sequence[float],
                target: float) -> Optional[float]:
    """The least cost at which a curve reaches ``target``.

    Args:
        costs (Sequence[float]): Boxes or images of each round, never falling.
        values (Sequence[float]): AP of each round.
        target (float): The value to reach.

    Returns:
        float | None: Linearly interpolated between two rounds; the first cost
        where the first round is already there; None if never reached.

    Raises:
        ValueError: If the curve is empty, holds NaN or its costs fall.

    Examples:
        >>> cost_needed([100, 200, 400], [0.1, 0.3, 0.2], 0.2)
        150.0
        >>> cost_needed([100, 200, 400], [0.1, 0.3, 0.2], 0.4) is None
        True
    """
    x, y = _check(costs, values)
    # the first crossing, though a curve may fall below the target again
    reached = np.flatnonzero(y >= target)
    if not len(reached):
        return None
    i = reached[0]
    if i == 0:  # nobody knows what fewer would have been enough
        return float(x[0])
    share = (target - y[i - 1]) / (y[i] - y[i - 1])
    return float(x[i - 1] + share * (x[i] - x[i - 1]))


@dataclass(frozen=True)
class Saving:
    """What it costs a method, and another one, to reach the same value.

    Args:
        target (float): The value.
        cost (float, optional): The method's cost; None if never reached.
        other (float, optional): That of the other one.
    """
    target: float
    cost: Optional[float]
    other: Optional[float]

    @property
    def fewer(self) -> Optional[float]:
        """How much less it costs; below 0 if it costs more."""
        if self.cost is None or self.other is None:
            return None
        return self.other - self.cost

    @property
    def percent(self) -> Optional[float]:
        """``fewer`` in percent of the other's cost; None if that is 0."""
        change = relative_change(self.cost, self.other)
        return None if change is None else 0.0 - change  # no -0.0 in tables


def saving(curve: Series,
           other: Series,
           target: Optional[float] = None) -> Saving:
    """What a method saves when it gets where another one ends.

    As in ISAL (Liu et al. 2021), sections 4.1 and 4.2. Both costs are those
    of :func:`cost_needed`; one that fell at its end reached its final value
    before, and its first crossing counts.

    Args:
        curve (tuple[Sequence[float], Sequence[float]]): Costs and values of
            the method, by round.
        other (tuple[Sequence[float], Sequence[float]]): Those of the other.
        target (float, optional): The value to reach. Default: the other's
            value in its last round.

    Raises:
        ValueError: If a curve is empty, holds NaN or its costs fall.

    Examples:
        >>> saved = saving(([100, 200], [0.1, 0.5]), ([100, 300], [0.1, 0.3]))
        >>> saved.cost, saved.other, saved.fewer, saved.percent
        (150.0, 300.0, 150.0, 50.0)
    """
    _check(*other)  # before its last value is taken for the target
    target = other[1][-1] if target is None else target
    return Saving(
        float(target), cost_needed(*curve, target),
        cost_needed(*other, target))


def _check(costs: Sequence[float],
           values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """A curve as arrays, if it is one."""
    x = np.asarray(costs, dtype=float)
    y = np.asarray(values, dtype=float)
    if x.ndim != 1 or x.shape != y.shape or not len(x):
        raise ValueError(
            'a learning curve needs as many costs as values and at least '
            f'one, got {x.shape} and {y.shape}')
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(f'a learning curve holds NaN or infinity: costs '
                         f'{x.tolist()}, values {y.tolist()}')
    if (np.diff(x) < 0).any():
        raise ValueError(
            f'the costs of a learning curve fall: {x.tolist()}')
    return x, y
