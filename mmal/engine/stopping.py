"""Rules that end a run before its last round: ``active_learning.stop``."""
from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Optional

from mmal.evaluation.forecast import MIN_ROUNDS, fit_forecast
from mmal.registry import TASK_UTILS
from mmal.reporting import Curve
from mmal.reporting.curve import AXES, METRIC_KEYS
from mmal.reporting.tables import amount


class BaseStopRule(ABC):
    """Looks at the rounds so far, and may say that these are enough.

    A rule is a pure function of the curve: a run that is killed and resumed,
    or has more processes, ends after the same round.

    Args:
        metric (str): 'AP', 'AP50', 'AP75', 'accuracy' or a key of the
            validation's metrics.
    """

    def __init__(self, metric: str = 'AP') -> None:
        self.metric = metric

    @abstractmethod
    def reason(self, curve: Curve) -> Optional[str]:
        """Why no round is to follow, in words; None if one is.

        Args:
            curve (Curve): The rounds, the one that has just been validated
                the last.

        Raises:
            ValueError: If the rounds lack what the rule needs.
        """

    def series(self, curve: Curve,
               unit: str) -> tuple[list[float], list[float]]:
        """Costs and values of the rounds that have the metric.

        Raises:
            ValueError: If none has it, or the costs are not known.
        """
        records = [r for r in curve.records
                   if r.value(self.metric) is not None]
        names = {name for r in curve.records for name in r.metrics}
        keys = {self.metric, *METRIC_KEYS.get(self.metric, ())}
        if names and not names & keys:
            raise ValueError(
                f'active_learning.stop asks for the metric {self.metric!r}, '
                f'but validation gives {", ".join(sorted(names))}: choose one '
                'of them and run again with --resume.')
        costs = [getattr(r, unit, None) for r in records]
        if None in costs:
            raise ValueError(
                f"active_learning.stop asks for unit={unit!r}, which the "
                "rounds of this run do not record: give unit='images' and an "
                'amount of them, and run again with --resume.')
        return costs, [r.value(self.metric) for r in records]


@TASK_UTILS.register_module()
class Plateau(BaseStopRule):
    """Stops when the last rounds have brought (almost) nothing.

    The best value of the last ``rounds`` rounds is compared with the best
    one before them.

    Args:
        rounds (int): How many rounds, at least 1.
        min_gain (float): The gain that is enough to go on, in the unit of the
            metric, at least 0.
        metric (str): See :class:`BaseStopRule`.

    Examples:
        >>> from mmal.reporting import Record
        >>> curve = Curve([Record(n, 20 + n, 1, {'coco/bbox_mAP': value})
        ...                for n, value in enumerate([.3, .4, .41, .402])])
        >>> Plateau(rounds=2, min_gain=.005).reason(curve) is None
        True
        >>> print(Plateau(rounds=2, min_gain=.02).reason(curve)[:66])
        AP rose by 0.010 in the last 2 rounds, from 0.400 to 0.410, less t
    """

    def __init__(self, rounds: int = 3, min_gain: float = 0.005,
                 metric: str = 'AP') -> None:
        super().__init__(metric)
        if rounds < 1:
            raise ValueError(f'rounds is {rounds}: give at least 1.')
        if not (min_gain >= 0 and math.isfinite(min_gain)):
            raise ValueError(f'min_gain is {min_gain}: give a number of at '
                             'least 0.')
        self.rounds = rounds
        self.min_gain = min_gain

    def reason(self, curve: Curve) -> Optional[str]:
        """See the base class."""
        _, values = self.series(curve, 'images')
        if len(values) <= self.rounds:
            return None
        before = max(values[:-self.rounds])
        after = max(values[-self.rounds:])
        if after - before >= self.min_gain:
            return None
        what = (f'rose by {after - before:.3f}' if after > before else
                'did not rise')
        return (f'{self.metric} {what} in the last '
                f'{amount(self.rounds, "round")}, from {before:.3f} to '
                f'{after:.3f}, less than {self.min_gain:g} (mmal.Plateau)')


@TASK_UTILS.register_module()
class ExpectedGain(BaseStopRule):
    """Stops when more labels are not expected to pay.

    The power law of :func:`mmal.evaluation.forecast.fit_forecast` says by how
    much the metric will rise with what is labelled next; its mean over all
    curves that the rounds allow counts.

    Args:
        min_gain (float): The gain that is enough to go on, in the unit of the
            metric, above 0.
        amount (float): For how much more labelling, above 0.
        unit (str): 'hours' of labelling by the cost model, 'images' or
            'boxes'.
        min_rounds (int): Rounds before which the rule says nothing, at least
            3.
        metric (str): See :class:`BaseStopRule`; a metric from 0 to 1.
    """

    def __init__(self, min_gain: float, amount: float = 1.0,
                 unit: str = 'hours', min_rounds: int = 4,
                 metric: str = 'AP') -> None:
        super().__init__(metric)
        for name, value in (('min_gain', min_gain), ('amount', amount)):
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f'{name} is {value}: give a number above 0.')
        if unit not in AXES:
            raise ValueError(f'unit is {unit!r}: give one of {AXES}.')
        if min_rounds < MIN_ROUNDS:
            raise ValueError(f'min_rounds is {min_rounds}: give at least '
                             f'{MIN_ROUNDS}.')
        self.min_gain = min_gain
        self.amount = amount
        self.unit = unit
        self.min_rounds = min_rounds

    def reason(self, curve: Curve) -> Optional[str]:
        """See the base class."""
        costs, values = self.series(curve, self.unit)
        # rounds that only reselected images have cost nothing new
        if len(set(costs)) < self.min_rounds:
            return None
        now = max(costs)
        gain = fit_forecast(costs, values).gain(now, now + self.amount)
        if gain >= self.min_gain:
            return None
        return (f'{self.metric} is expected to rise by {gain:.2g} with '
                f'{self.amount:g} {self.unit} more, less than '
                f'{self.min_gain:g} (mmal.ExpectedGain)')
