"""Boxes with margins that hold the object as often as was asked for.

Split conformal prediction: Vovk et al., "Algorithmic Learning in a Random
World" (2005); of boxes: Andéol et al., "Confident Object Detection via
Conformal Prediction and Conformal Risk Control" (2023), and class by class
with scaled errors: Timans et al., "Adaptive Bounding Box Uncertainties via
Two-Step Conformal Prediction" (ECCV 2024).
"""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Optional

import numpy as np
import torch
from torch import Tensor

RULES = ('box', 'bonferroni', 'coordinate')
_MIN_STD = 1e-3  # pixels; a sure box keeps a margin


class ConformalBoxes:
    """Margins around the four edges of a detection, by its class.

    Of detections that find an object, exchangeable with the n that were
    fitted, a share of at least ``level`` (and below ``level`` + 1 / (n + 1)
    if no two errors are equal) has all four edges of the object inside its
    margins. This is a mean over sets of fitted and of new detections: for one
    fitted set the share has the Beta distribution of :func:`coverage_band`.

    Args:
        level (float): The share, in (0, 1).
        rule (str): What is inside so often: 'box', all four edges, by the
            quantile of the largest of the four errors; 'bonferroni', all
            four, by those of each edge at 1 - (1 - level) / 4, which is wider
            where errors of edges go together; 'coordinate', each edge for
            itself.
        scaled (bool): Whether a margin is the quantile times the predicted
            standard deviation, or the quantile itself, in pixels of the
            original image.
        pooled (sequence[float]): [4], quantiles of all classes together, of
            x1, y1, x2, y2.
        by_class (sequence[sequence[float] | None]): The same of each of C
            classes; None where ``pooled`` serves.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, level: float, rule: str, scaled: bool,
                 pooled: Sequence[float],
                 by_class: Sequence[Optional[Sequence[float]]]) -> None:
        if not 0 < level < 1:
            raise ValueError(f'calibration: the level is {level}: give a '
                             'share in (0, 1).')
        if rule not in RULES:
            raise ValueError(f'calibration: the rule is {rule!r}: choose one '
                             f'of {", ".join(RULES)}.')
        self.level = float(level)
        self.rule = rule
        self.scaled = bool(scaled)
        self.pooled = _checked(pooled)
        self.by_class = [None if q is None else _checked(q) for q in by_class]
        self._table = torch.tensor(
            [q or self.pooled for q in self.by_class],
            dtype=torch.float64).reshape(-1, 4)

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.by_class)

    @classmethod
    def fit(cls,
            errors: np.ndarray,
            labels: np.ndarray,
            num_classes: int,
            stds: Optional[np.ndarray] = None,
            level: float = 0.9,
            rule: str = 'box',
            min_count: int = 30) -> ConformalBoxes:
        """Take the quantiles of detections that found an object.

        Args:
            errors (np.ndarray): [m, 4], edges of the objects minus those of
                their detections, in pixels of the original image.
            labels (np.ndarray): int [m], the detections' classes.
            num_classes (int): C.
            stds (np.ndarray, optional): [m, 4], predicted, in pixels: errors
                are divided by them.
            level (float): See the class.
            rule (str): See the class.
            min_count (int): A class with fewer detections gets the quantiles
                of all, and so does one with too few for the level.

        Raises:
            ValueError: If all m together are too few for the level, see
                :func:`highest_level`.
        """
        values = np.abs(np.asarray(errors, np.float64).reshape(-1, 4))
        if stds is not None:
            values = values / np.asarray(stds, np.float64).clip(_MIN_STD)
        if not np.isfinite(values).all():
            raise ValueError('calibration: an error or a standard deviation '
                             'of a box is not finite.')
        if rule == 'box':
            values = np.repeat(values.max(1, keepdims=True), 4, 1)
        each = 1 - (1 - level) / 4 if rule == 'bonferroni' else level
        pooled = conformal_quantile(values, each)
        if not np.isfinite(pooled).all():
            raise ValueError(
                f'calibration: {len(values)} detections that found an object '
                f'are too few for boxes of level {level:g}: give more images, '
                f'or a level of at most {highest_level(len(values), rule):g}.')
        by_class = []
        for label in range(num_classes):
            own = values[np.asarray(labels) == label]
            quantile = conformal_quantile(own, each)
            enough = len(own) >= min_count and np.isfinite(quantile).all()
            by_class.append(quantile.tolist() if enough else None)
        return cls(level, rule, stds is not None, pooled.tolist(), by_class)

    def margins(self,
                labels: Tensor,
                stds: Optional[Tensor] = None,
                scale: Sequence[float] = (1.0, 1.0)) -> Tensor:
        """How far the object may reach beyond, or stay behind, each edge.

        Args:
            labels (Tensor): int64 [n].
            stds (Tensor, optional): [n, 4] in pixels of the image that the
                boxes are given in; needed if ``scaled``, else not used.
            scale (sequence[float]): Width and height of that image divided by
                those of the original one; not used if ``scaled``.

        Returns:
            Tensor: float32 [n, 4] >= 0 in pixels of that image; float64 if
            ``stds`` are.

        Raises:
            ValueError: If ``stds`` are needed.
        """
        if not self.scaled:
            table = self._table.float().to(labels.device)[labels]
            return table * table.new_tensor(scale).repeat(2)
        if stds is None:
            raise ValueError(
                'calibration: the margins of boxes are multiples of box_std, '
                'which this detector does not predict. Fit them anew: they '
                'are pixels then.')
        if stds.dtype != torch.float64:
            stds = stds.float()
        return self._table.to(stds)[labels] * stds.clamp(min=_MIN_STD)

    def state(self) -> dict:
        """What :meth:`from_state` takes: words, numbers, lists, dicts."""
        return dict(level=self.level, rule=self.rule, scaled=self.scaled,
                    pooled=self.pooled, by_class=self.by_class)

    @classmethod
    def from_state(cls, state: Mapping) -> ConformalBoxes:
        """The margins that :meth:`state` describes.

        Raises:
            KeyError, TypeError, ValueError: If it describes none.
        """
        return cls(state['level'], state['rule'], state['scaled'],
                   state['pooled'], state['by_class'])


def conformal_quantile(values: np.ndarray, level: float) -> np.ndarray:
    """The value that a new one, drawn alike, does not exceed that often.

    The ceil((n + 1) · level)-th smallest of n, their quantile at
    ceil((n + 1) · level) / n.

    Args:
        values (np.ndarray): [n, ...], each column for itself.
        level (float): In (0, 1).

    Returns:
        np.ndarray: float64 [...]; inf if n is below level / (1 - level).

    Examples:
        >>> conformal_quantile(np.arange(1, 10), 0.9)
        array(9.)
        >>> conformal_quantile(np.arange(1, 9), 0.9)
        array(inf)
    """
    values = np.sort(np.asarray(values, np.float64), axis=0)
    rank = _rank(len(values), level)
    if rank > len(values):
        return np.full(values.shape[1:], np.inf)
    return np.asarray(values[rank - 1])


def highest_level(count: int, rule: str = 'box') -> float:
    """The highest level that margins can be fitted for.

    Args:
        count (int): Detections that found an object, n.
        rule (str): See :class:`ConformalBoxes`.

    Returns:
        float: n / (n + 1), or 1 - 4 / (n + 1) with 'bonferroni'.
    """
    return 1 - (4 if rule == 'bonferroni' else 1) / (count + 1)


def coverage_band(fitted: int,
                  level: float,
                  measured: Optional[int] = None,
                  probability: float = 0.95) -> tuple[float, float]:
    """Where the measured coverage lies if detections are exchangeable.

    With quantiles of n detections the coverage of further ones is distributed
    as Beta(k, n + 1 - k), k = ceil((n + 1) · level) (Vovk 2012), and the
    number covered of m of them as a beta-binomial.

    Args:
        fitted (int): n, at least level / (1 - level).
        level (float): In (0, 1).
        measured (int, optional): m; by default as many as one wants.
        probability (float): Of the central interval.

    Returns:
        tuple[float, float]: The lowest and the highest coverage.

    Examples:
        >>> low, high = coverage_band(99, 0.9)
        >>> round(low, 3), round(high, 3)
        (0.834, 0.951)
    """
    from scipy.stats import beta, betabinom
    rank = _rank(fitted, level)
    tails = (1 - probability) / 2, (1 + probability) / 2
    if measured is None:
        low, high = beta.ppf(tails, rank, fitted + 1 - rank)
    else:
        low, high = betabinom.ppf(tails, measured, rank,
                                  fitted + 1 - rank) / measured
    return float(low), float(high)


def _rank(count: int, level: float) -> int:
    """ceil((n + 1) · level), where 10 · 0.9 is 9."""
    return math.ceil((count + 1) * level - 1e-9)


def _checked(quantiles: Sequence[float]) -> list[float]:
    """Four margins as plain numbers."""
    values = np.asarray(quantiles, dtype=np.float64)
    if values.shape != (4, ) or not np.isfinite(values).all() or \
            (values < 0).any():
        raise ValueError('calibration: a box has four margins of at least 0, '
                         f'not {quantiles}.')
    return values.tolist()
