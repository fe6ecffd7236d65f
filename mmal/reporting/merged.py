"""Runs of one method, merged round by round."""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Optional

from mmal.evaluation import (
    PairedDifference,
    Saving,
    Spread,
    area_under_curve,
    paired_difference,
    saving,
    spread,
)
from .curve import AXES, Curve, Record
from .tables import amount


@dataclass(frozen=True)
class Run:
    """One run of a method.

    Args:
        name (str): What to call it.
        curve (Curve): Its rounds.
        seed (int, optional): Its seed, if known.
    """
    name: str
    curve: Curve
    seed: Optional[int] = None


@dataclass(frozen=True)
class MergedRound:
    """One round of several runs.

    Args:
        round (int): The round, counted from 0.
        images (Spread): Labelled images.
        boxes (Spread): Their boxes.
        hours (Spread): Hours of labelling; empty unless all runs know them.
        value (Spread): The metric.
    """
    round: int
    images: Spread
    boxes: Spread
    hours: Spread
    value: Spread

    @property
    def efficiency(self) -> Optional[float]:
        """``10k·AP / boxes`` of the means, as in ISAL, tables 8 to 11."""
        boxes = self.boxes.mean
        return 1e4 * self.value.mean / boxes if boxes else None


@dataclass(frozen=True)
class MergedCurve:
    """Runs of one method, as a rule with different seeds.

    As in ISAL, section 4.2, costs and values are averaged round by round. A
    round counts if all runs have it with the metric.

    Args:
        name (str): The method.
        runs (sequence[Run]): At least one.
        metric (str): 'AP', 'AP50', 'AP75' or a key of the metrics.

    Raises:
        ValueError: If there is no run, one has no round with the metric, or
            the runs have no such round in common.
    """
    name: str
    runs: Sequence[Run]
    metric: str = 'AP'

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError(f'{self.name} has no runs to merge.')
        for run in self.runs:
            if self._records(run):
                continue
            known = sorted({k for r in run.curve.records for k in r.metrics})
            if not known:
                raise ValueError(f'{run.name} has no finished round with '
                                 'metrics: leave it out until it has.')
            raise ValueError(f'{run.name} has no round with the metric '
                             f'{self.metric}. It has {", ".join(known)}.')
        if not self._common:
            raise ValueError(
                f'the runs of {self.name} have no round with {self.metric} '
                'in common: leave out the shortest.')

    @cached_property
    def rounds(self) -> tuple[MergedRound, ...]:
        """The rounds that all runs have, ordered."""
        rounds = []
        for number in self._common:
            records = [self._records(run)[number] for run in self.runs]
            costs = [[getattr(r, by) for r in records] for by in AXES]
            costs = [spread([] if None in of else of) for of in costs]
            values = spread([r.value(self.metric) for r in records])
            rounds.append(MergedRound(number, *costs, values))
        return tuple(rounds)

    @property
    def last(self) -> MergedRound:
        """The last of them."""
        return self.rounds[-1]

    def series(self, by: str = 'boxes') -> tuple[list[float], list[float]]:
        """Mean costs and mean values of the rounds.

        Args:
            by (str): 'images', 'boxes' or 'hours'.
        """
        return ([getattr(r, by).mean for r in self.rounds],
                [r.value.mean for r in self.rounds])

    def run_series(self, run: Run,
                   by: str = 'boxes') -> tuple[list[float], list[float]]:
        """Costs and values of one run in the rounds that all runs have."""
        records = self._records(run)
        return ([getattr(records[n], by) for n in self._common],
                [records[n].value(self.metric) for n in self._common])

    def area(self, low: float, high: float, by: str = 'boxes') -> Spread:
        """Mean height of each run's curve from one cost to another."""
        return spread([
            area_under_curve(*self.run_series(run, by), low, high)
            for run in self.runs
        ])

    @property
    def notes(self) -> list[str]:
        """What a reader must know of the runs, as sentences."""
        notes = [
            f'{run.name} is not finished: it has '
            f'{amount(len(run.curve), "round")}.' for run in self.runs
            if run.curve.stopped is None
        ]
        for run in self.runs:
            extra = sorted({r.round for r in run.curve.records}.difference(
                self._common))
            if extra:
                numbers = ', '.join(map(str, extra))
                notes.append(
                    f'{run.name}: round {numbers} left out, which not every '
                    f'run of {self.name} has with {self.metric}.')
        if len(self.runs) == 1:
            notes.append(f'{self.name} is a single run: it has no spread.')
        return notes

    @cached_property
    def _common(self) -> list[int]:
        """Numbers of the rounds that all runs have with the metric."""
        return sorted(
            set.intersection(*(set(self._records(r)) for r in self.runs)))

    def _records(self, run: Run) -> dict[int, Record]:
        """The rounds of a run with the metric, by number."""
        return {r.round: r for r in run.curve.records
                if r.value(self.metric) is not None}


def common_span(curves: Sequence[MergedCurve],
                by: str = 'boxes') -> Optional[tuple[float, float]]:
    """The costs that every run of every method covers; None without any."""
    # of the runs, not of the means: each run has an area of its own
    costs = [c.run_series(run, by)[0] for c in curves for run in c.runs]
    low, high = max(c[0] for c in costs), min(c[-1] for c in costs)
    return (low, high) if low <= high else None


def merged_saving(curve: MergedCurve,
                  other: MergedCurve,
                  by: str = 'boxes',
                  target: Optional[float] = None) -> Saving:
    """:func:`mmal.evaluation.saving` of the mean curves."""
    return saving(curve.series(by), other.series(by), target)


def seed_savings(curve: MergedCurve,
                 other: MergedCurve,
                 by: str = 'boxes',
                 target: Optional[float] = None) -> list[Saving]:
    """:func:`mmal.evaluation.saving` of each two runs of equal seed.

    A seed counts if either method has exactly one run with it.
    """
    return [
        saving(curve.run_series(ours, by), other.run_series(theirs, by),
               target) for ours, theirs in _pairs(curve, other)
    ]


def seed_difference(curve: MergedCurve,
                    other: MergedCurve,
                    low: float,
                    high: float,
                    by: str = 'boxes') -> Optional[PairedDifference]:
    """By how much a method's curve is above another's, paired by seed.

    Args:
        curve (MergedCurve): The method.
        other (MergedCurve): The other one.
        low (float): The cost from which the mean heights of the curves are
            taken, see :func:`mmal.evaluation.area_under_curve`.
        high (float): The cost up to which they are; ``low`` for the height
            at one cost.
        by (str): 'images' or 'boxes'.

    Returns:
        PairedDifference | None: None if they share no seed. A seed counts if
        either method has exactly one run with it.

    Raises:
        ValueError: If a run does not cover these costs.
    """
    heights = [
        tuple(
            area_under_curve(*method.run_series(run, by), low, high)
            for method, run in zip((curve, other), pair))
        for pair in _pairs(curve, other)
    ]
    return paired_difference(*zip(*heights)) if heights else None


def _pairs(curve: MergedCurve, other: MergedCurve) -> list[tuple[Run, Run]]:
    """The runs of two methods that have the same seed."""
    ours, theirs = _by_seed(curve.runs), _by_seed(other.runs)
    return [(ours[seed], theirs[seed]) for seed in ours if seed in theirs]


def _by_seed(runs: Sequence[Run]) -> dict[int, Run]:
    # of two runs with one seed nobody can say which is the other's pair
    counts = Counter(run.seed for run in runs)
    return {run.seed: run for run in runs
            if run.seed is not None and counts[run.seed] == 1}
