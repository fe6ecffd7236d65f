"""What the runs of a method will reach with more labels."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mmal.evaluation.forecast import (
    LEVELS,
    cost_of_target,
    fit_forecast,
)
from mmal.reporting import Run
from mmal.reporting.tables import amount, number, render
from .run_groups import group_runs

# times the cost so far: what is further away is as good as never
_FAR = 1000


def rounds_of_runs(runs: Sequence[Run], by: str,
                   metric: str) -> tuple[list[float], list[float]]:
    """Costs and values of all rounds of some runs that have the metric.

    Args:
        runs (sequence[Run]): Runs of one method.
        by (str): 'images', 'boxes' or 'hours'.
        metric (str): 'AP', 'AP50', 'AP75', 'accuracy' or a key of the
            metrics.

    Raises:
        ValueError: If no round has the metric, or the costs are not known.
    """
    records = [r for run in runs for r in run.curve.records]
    known = sorted({name for r in records for name in r.metrics})
    records = [r for r in records if r.value(metric) is not None]
    if not records:
        raise ValueError(
            f'no round of {runs[0].name} has the metric {metric}. ' +
            (f'Give one of {", ".join(known)} with --metric.' if known else
             'Let one be validated first.'))
    costs = [getattr(r, by, None) for r in records]
    if None in costs:
        raise ValueError(f'{runs[0].name} does not record {by}: give --by '
                         'images or boxes.')
    return costs, [r.value(metric) for r in records]


def forecast_tables(paths: Sequence[str],
                    groups: Mapping[str, Sequence[str]],
                    by: str = 'images',
                    metric: str = 'AP',
                    at: Sequence[float] = (),
                    targets: Sequence[float] = ()) -> list[str]:
    """A forecast of each method as text.

    Args:
        paths (sequence[str]): Work folders, see
            :func:`~mmal.analysis.run_groups.group_runs`.
        groups (mapping[str, sequence[str]]): Folders that belong together, by
            name.
        by (str): What a round costs: 'images', 'boxes' or 'hours'.
        metric (str): See :func:`rounds_of_runs`.
        at (sequence[float]): Costs to look at. Default: 1.5, 2 and 4 times
            the largest so far.
        targets (sequence[float]): Values whose cost is asked for.

    Raises:
        FileNotFoundError, ValueError: If a folder holds no run, or its rounds
            are too few for a forecast or lack what is asked for.
    """
    tables = []
    for name, runs in group_runs(paths, groups).items():
        costs, values = rounds_of_runs(runs, by, metric)
        try:
            forecast = fit_forecast(costs, values)
        except ValueError as e:
            raise ValueError(f'{name}: {e}') from e
        last = max(costs)
        digits = 0 if by != 'hours' else 1
        points = np.array(at or [1.5 * last, 2 * last, 4 * last])
        bands = forecast.bands(points)
        percents = [f'{level * 100:.0f}' for level in LEVELS]
        rows = [[
            number(point, digits), f'{bands["median"][n]:.3f}',
            *(f'{bands["low" + p][n]:.3f} to {bands["high" + p][n]:.3f}'
              for p in percents)
        ] for n, point in enumerate(points)]
        limit = np.quantile(forecast.limits, [.1, .5, .9])
        tables.append(render(
            (by, metric, *(f'{level:.0%} of rounds' for level in LEVELS)),
            rows,
            f'{name}: {amount(len(costs), "round")} of '
            f'{amount(len(runs), "run")}, the last at '
            f'{number(last, digits)} {by} with {metric} '
            f'{values[int(np.argmax(costs))]:.3f}\nwith all data of the '
            f'world {metric} {limit[1]:.2f} (80%: {limit[0]:.2f} to '
            f'{limit[2]:.2f})'))
        if targets:
            rows = []
            for target in targets:
                cost = cost_of_target(forecast, target)
                low, median, high = (
                    'never' if np.isinf(c) else number(c, digits)
                    if c <= _FAR * last else f'> {number(_FAR * last, 0)}'
                    for c in (cost.low, cost.median, cost.high))
                rows.append([f'{metric} {target:g}', median,
                             f'{low} to {high}', f'{cost.probability:.0%}'])
            tables.append(render(
                ('target', by, f'{LEVELS[0]:.0%} interval',
                 'ever reached'), rows, f'{name}: what it costs'))
    return tables
