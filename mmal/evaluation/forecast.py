"""What a learning curve will reach: a power law, and how sure that is.

    f(n) = a − b · (n + d)^(−c)

is what a metric does as labelled data grow (Hestness et al., "Deep Learning
Scaling is Predictable, Empirically", 2017; Mahmood et al., "How Much More
Data Do I Need?", CVPR 2022). d is what weights from a pre-training are worth
in data (Hernandez et al., "Scaling Laws for Transfer", 2021); with d = 0
curves of few images are bent more than those of detectors. A handful of
rounds leave all four open, above all the value a that no data can pass, so
that one best fit says too much. Here all curves that the rounds allow are
kept, each with its probability.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

LEVELS = (0.8, 0.95)
MIN_ROUNDS = 3
# Where the exponent may lie. Against images, detectors have 0.2 to 1; at 3
# half as much data again leaves less than a third of what is missing.
_EXPONENTS = (0.1, 3.0)
# d, as multiples of the least cost of the rounds.
_OFFSETS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
# Standard deviation of a round around its curve: at most what is known of
# repeated trainings, half-normal around 0, and never nothing.
_NOISE, _NOISE_SCALE = (0.003, 0.15), 0.03
_DRAWS = 4000


@dataclass(frozen=True)
class Forecast:
    """Curves ``a − (a − start) · ((cost + d) / (origin + d))^(−c)`` that fit
    the rounds.

    Args:
        origin (float): The least cost of the rounds.
        limits (np.ndarray): a of D curves, in (0, 1].
        starts (np.ndarray): Their values at ``origin``, in [0, a].
        exponents (np.ndarray): Their c.
        offsets (np.ndarray): Their d, in units of ``origin``.
        noise (np.ndarray): Standard deviations of a round around them.
    """
    origin: float
    limits: np.ndarray
    starts: np.ndarray
    exponents: np.ndarray
    offsets: np.ndarray
    noise: np.ndarray

    def values(self, at: Sequence[float]) -> np.ndarray:
        """The curves at M costs, [D, M]."""
        left = _left(_costs(at) / self.origin, self.offsets,
                     self.exponents)
        limit = self.limits[:, None]
        return limit - (limit - self.starts[:, None]) * left

    def rounds(self, at: Sequence[float]) -> np.ndarray:
        """What single rounds at M costs would measure, [D, M]: the curves
        and the noise of a training."""
        curves = self.values(at)
        normal = np.random.default_rng(1).standard_normal(curves.shape)
        return (curves + normal * self.noise[:, None]).clip(0, 1)

    def bands(self, at: Sequence[float]) -> dict[str, list[float]]:
        """What rounds at M costs are expected to measure, as
        :func:`forecast_curve` returns it."""
        rounds = self.rounds(at)
        out = dict(x=list(map(float, at)),
                   median=np.median(self.values(at), 0).tolist())
        for level in LEVELS:
            low, high = np.quantile(
                rounds, [(1 - level) / 2, (1 + level) / 2], axis=0)
            out[f'low{level * 100:.0f}'] = low.tolist()
            out[f'high{level * 100:.0f}'] = high.tolist()
        return out

    def gain(self, start: float, end: float) -> float:
        """By how much the curve is expected to rise from a cost to another."""
        first, last = self.values([start, end]).mean(0)
        return float(last - first)

    def costs_of(self, target: float) -> np.ndarray:
        """Where each curve reaches a value, [D]; at ``origin`` where it
        starts above it, and infinite where it never gets there."""
        above = self.limits > target
        share = np.divide(self.limits - self.starts, self.limits - target,
                          out=np.ones_like(self.limits), where=above)
        with np.errstate(over='ignore'):  # of more costs than numbers reach
            costs = self.origin * (
                share.clip(1)**(1 / self.exponents) *
                (1 + self.offsets) - self.offsets)
        return np.where(above, costs, np.inf)


def fit_forecast(costs: Sequence[float],
                 values: Sequence[float],
                 weights: Optional[Sequence[float]] = None) -> Forecast:
    """All power laws that rounds allow, by Bayes' rule.

    Before any round is seen a is uniform in (0, 1], the value at the least
    cost uniform in [0, a], log c uniform from 0.1 to 3, d one of 0, 0.5, 1, 2,
    4 and 8 times the least cost, and the noise of a round half-normal with
    scale 0.03, at least 0.003. With a, c and d fixed the curve is linear in
    its start, which is integrated in closed form; the others are a grid of
    200 · 24 · 6 · 12 points. Time and memory are O(grid · N); the draws are
    the same each time.

    Args:
        costs (Sequence[float]): Images, boxes or hours of N rounds, > 0, in
            any order; rounds of several runs with other seeds are given
            together.
        values (Sequence[float]): Their metric, in [0, 1].
        weights (Sequence[float], optional): How much each counts, > 0: a
            mean of w runs has the weight w. Default: 1.

    Raises:
        ValueError: If there are fewer than three costs, the lengths differ
            or a value is out of its range.

    Examples:
        >>> forecast = fit_forecast([50, 100, 200, 400], [.2, .4, .5, .55])
        >>> bool(0.55 < np.median(forecast.values([800])) < 0.65)
        True
    """
    from scipy.special import log_ndtr  # here: it takes longer than the rest
    from scipy.stats import truncnorm

    x, y, w = _check(costs, values, weights)
    origin = x.min()

    def start_of(a: np.ndarray, c: np.ndarray,
                 d: np.ndarray) -> tuple[np.ndarray, ...]:
        """The best start of curves, its precision for noise 1, and what the
        squares of the residuals come to."""
        z = _left(x / origin, d, c)
        residual = y - a[..., None] * (1 - z)
        precision = (w * z**2).sum(-1)
        best = (w * residual * z).sum(-1) / precision
        squares = (w * (residual - best[..., None] * z)**2).sum(-1)
        return best, precision, squares

    a = (np.arange(200) + 0.5) / 200
    log_c = np.linspace(*np.log(_EXPONENTS), 24)
    offsets = np.array(_OFFSETS)
    sigma = np.geomspace(*_NOISE, 12)
    best, precision, squares = start_of(*np.meshgrid(
        a, np.exp(log_c), offsets, indexing='ij'))
    width = sigma / np.sqrt(precision)[..., None]
    low = -best[..., None] / width
    high = (a[:, None, None] - best)[..., None] / width
    # log of the normal mass between them; far out in the upper tail it is
    # taken in the lower one, where it does not round to nothing
    flip = low > 0
    low, high = np.where(flip, -high, low), np.where(flip, -low, high)
    log_high = log_ndtr(high)
    mass = log_high + np.log(-np.expm1(
        np.minimum(log_ndtr(low) - log_high, -1e-300)))
    # sigma is spaced evenly in its logarithm, hence its own factor
    log_p = (mass + np.log(width) - np.log(a)[:, None, None, None] -
             len(x) * np.log(sigma) - squares[..., None] / (2 * sigma**2) -
             sigma**2 / (2 * _NOISE_SCALE**2) + np.log(sigma))

    # as many draws from each point as it is probable, and within its cell
    p = np.exp(log_p - log_p.max()).ravel()
    cumulated = np.cumsum(p / p.sum())
    at = np.searchsorted(cumulated, (np.arange(_DRAWS) + 0.5) / _DRAWS)
    i, j, m, k = np.unravel_index(np.minimum(at, len(p) - 1), log_p.shape)
    generator = np.random.default_rng(0)
    shift = generator.uniform(-0.5, 0.5, (3, _DRAWS))
    limits = a[i] + shift[0] / len(a)
    exponents = np.exp(np.clip(
        log_c[j] + shift[1] * (log_c[1] - log_c[0]), log_c[0], log_c[-1]))
    noise = (sigma[k] * (sigma[1] / sigma[0])**shift[2]).clip(*_NOISE)
    best, precision, _ = start_of(limits, exponents, offsets[m])
    width = noise / np.sqrt(precision)
    starts = truncnorm.ppf(generator.random(_DRAWS), -best / width,
                           (limits - best) / width, best, width)
    return Forecast(float(origin), limits, np.clip(starts, 0, limits),
                    exponents, offsets[m], noise)


def forecast_curve(costs: Sequence[float],
                   values: Sequence[float],
                   at: Sequence[float],
                   weights: Optional[Sequence[float]] = None
                   ) -> dict[str, list[float]]:
    """The value that a round at each cost is expected to have, and the
    interval around it.

    Args:
        costs, values, weights: See :func:`fit_forecast`.
        at (Sequence[float]): M costs, > 0.

    Returns:
        dict[str, list[float]]: ``x``, the costs, and ``median``, ``low80``,
        ``high80``, ``low95`` and ``high95`` in [0, 1]: a round lies between
        the lows and highs with a probability of 80% and of 95%.

    Raises:
        ValueError: See :func:`fit_forecast`.
    """
    return fit_forecast(costs, values, weights).bands(_costs(at))


@dataclass(frozen=True)
class CostOfTarget:
    """What a value costs.

    Args:
        target (float): The value.
        probability (float): That it can be reached at all, in [0, 1].
        median (float): The cost that is as likely too little as too much;
            infinite where it is more likely not reached at all.
        low (float): Lower end of the interval.
        high (float): Its upper end.
        level (float): How probable it is that the cost is in it.
    """
    target: float
    probability: float
    median: float
    low: float
    high: float
    level: float = LEVELS[0]


def cost_of_target(forecast: Forecast, target: float,
                   level: float = LEVELS[0]) -> CostOfTarget:
    """What it costs that the curve, without noise, reaches a value.

    Args:
        forecast (Forecast): The curve.
        target (float): The value, in (0, 1).
        level (float): Of the interval.

    Raises:
        ValueError: If the value is not in (0, 1).
    """
    if not 0 < target < 1:
        raise ValueError(f'the target is {target}: give a value of the '
                         'metric between 0 and 1.')
    costs = forecast.costs_of(target)
    # a quantile that is itself one of the costs, for there may be infinite
    # ones, between which nothing lies
    low, median, high = np.quantile(
        costs, [(1 - level) / 2, 0.5, (1 + level) / 2],
        method='inverted_cdf').tolist()
    return CostOfTarget(target, float(np.isfinite(costs).mean()), median,
                        low, high, level)


def _left(cost: np.ndarray, offset: np.ndarray,
          exponent: np.ndarray) -> np.ndarray:
    """Which part of what is missing at the cost 1 is still missing at M
    costs, [..., M]."""
    offset = np.asarray(offset)[..., None]
    return ((cost + offset) / (1 + offset))**-exponent[..., None]


def _check(costs: Sequence[float], values: Sequence[float],
           weights: Optional[Sequence[float]]) -> tuple[np.ndarray, ...]:
    x, y = _costs(costs), np.asarray(values, float)
    w = np.ones_like(x) if weights is None else np.asarray(weights, float)
    if not x.shape == y.shape == w.shape:
        raise ValueError(
            'a forecast needs a value, and a weight if any, for each cost; '
            f'got {len(x)} costs, {y.size} values and {w.size} weights')
    if len(np.unique(x)) < MIN_ROUNDS:
        raise ValueError(
            f'a forecast needs {MIN_ROUNDS} rounds of different cost, got '
            f'{len(np.unique(x))}: let the run go on first.')
    if not ((y >= 0) & (y <= 1)).all():
        raise ValueError('a forecast needs a metric from 0 to 1 (AP, not in '
                         f'percent), got {y.tolist()}')
    if not ((w > 0) & np.isfinite(w)).all():
        raise ValueError(f'weights must be above 0, got {w.tolist()}')
    return x, y, w


def _costs(costs: Sequence[float]) -> np.ndarray:
    x = np.asarray(costs, float)
    if x.ndim != 1 or not ((x > 0) & np.isfinite(x)).all():
        raise ValueError(
            'costs of a forecast must be a list of numbers above 0, got '
            f'{x.tolist()}. If they are hours, give a cost model that is not '
            '0, or forecast by images.')
    return x
