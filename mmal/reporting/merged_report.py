"""Methods side by side: tables, a picture and the files they go into."""
from __future__ import annotations

import os.path as osp
from collections.abc import Sequence
from dataclasses import astuple
from itertools import permutations
from typing import Optional

from mmal.colours import class_colours, hexadecimal
from mmal.evaluation import spread
from mmal.fileio import write_bytes, write_text
from .curve import AXES, COSTS
from .merged import (
    MergedCurve,
    common_span,
    merged_saving,
    seed_difference,
    seed_savings,
)
from .number_table import NumberTable
from .plots import COLOURS, finish_panel, new_figure, png_of
from .tables import amount, number

PAGE_NAME = 'merged.md'
PICTURE_NAME = 'curves.png'
NOT_REACHED = 'never'

_MARKERS = 'osD^vP'
_DIGITS = dict(hours=2)  # of costs that are no whole numbers


def merged_tables(curves: Sequence[MergedCurve],
                  target: Optional[float] = None,
                  method: Optional[str] = None,
                  against: Optional[str] = None,
                  by: str = 'boxes') -> dict[str, NumberTable]:
    """All tables by the name of their file.

    Args:
        curves (sequence[MergedCurve]): The methods, of one metric.
        target (float, optional): What to reach instead of the other methods'
            final values.
        method (str, optional): Compare this method alone with the others.
        against (str, optional): Compare with this one alone.
        by (str): The cost over which the mean of 'methods' is taken, and the
            first that methods are compared by: 'boxes', 'images' or 'hours'.

    Returns:
        dict[str, NumberTable]: 'methods', 'paired_boxes', 'paired_images',
        'boxes_needed', 'images_needed', 'rounds' and 'runs'; by hours
        'paired_hours' and 'hours_needed' too. A single method has neither
        differences nor needs, and methods without a seed in common no
        differences.

    Raises:
        ValueError: If there is no such method or cost, or a run does not know
            its hours.
    """
    if by not in AXES:
        raise ValueError(f'by must be one of {AXES}, got {by!r}')
    if by == 'hours':
        unknown = [run.name for c in curves for run in c.runs
                   if None in c.run_series(run, 'hours')[0]]
        if unknown:
            raise ValueError(
                f'{", ".join(unknown)} has rounds without hours of labelling '
                '(curve.json is of an older version): compare by boxes or '
                'images, or leave it out.')
    names = [c.name for c in curves]
    for name in (method, against):
        if name is not None and name not in names:
            raise ValueError(f'there is no method {name} among the runs: '
                             f'choose one of {", ".join(names)}.')
    tables = {'methods': methods_table(curves, by)}
    # boxes before images: they are what labelling costs
    axes = dict.fromkeys((by, *reversed(COSTS)))
    for axis in axes:
        paired = paired_table(curves, axis, method, against)
        if paired.rows:
            tables[f'paired_{axis}'] = paired
    if len(curves) > 1:
        for axis in axes:
            tables[f'{axis}_needed'] = savings_table(curves, axis, target,
                                                     method, against)
    return {**tables, 'rounds': rounds_table(curves),
            'runs': runs_table(curves)}


def methods_table(curves: Sequence[MergedCurve],
                  by: str = 'boxes') -> NumberTable:
    """The last round of each method, and the mean height of its curve over
    the boxes, images or hours that all runs cover."""
    metric = curves[0].metric
    span = common_span(curves, by)
    columns = {
        'method': 0, 'runs': 0, 'rounds': 0, 'images': 0, 'boxes': 0,
        'boxes ±': 0, metric: 3, f'{metric} ±': 3, f'mean {metric}': 4,
        'mean ±': 4
    }
    rows = []
    for curve in curves:
        last = curve.last
        area = curve.area(*span, by) if span else spread([])
        rows.append((curve.name, len(curve.runs), len(curve.rounds),
                     last.images.mean, last.boxes.mean, last.boxes.std,
                     last.value.mean, last.value.std, area.mean, area.std))
    over = f'no common {by}'
    if span:
        over = '–'.join(number(c, _DIGITS.get(by, 0)) for c in span) + f' {by}'
    return NumberTable.make(
        f'last round, and mean {metric} over {over}', columns, rows)


def savings_table(curves: Sequence[MergedCurve],
                  by: str = 'boxes',
                  target: Optional[float] = None,
                  method: Optional[str] = None,
                  against: Optional[str] = None) -> NumberTable:
    """What each method saves against each other one (ISAL, section 4.2).

    Args:
        curves (sequence[MergedCurve]): The methods.
        by (str): 'images' or 'boxes'.
        target (float, optional): What to reach. Default: the value of the
            other method in its last round.
        method (str, optional): Only the savings of this one.
        against (str, optional): Only those against this one.
    """
    metric = curves[0].metric
    columns = {
        'method': 0, 'against': 0, metric: 3,
        **dict.fromkeys((by, 'theirs', 'fewer'), _DIGITS.get(by, 0)),
        'saving %': 1, 'per seed %': 1, '±': 1, 'seeds': 0
    }
    rows = []
    for ours, theirs in _comparisons(curves, method, against):
        saving = merged_saving(ours, theirs, by, target)
        costs = [NOT_REACHED if cost is None else cost
                 for cost in (saving.cost, saving.other)]
        # the mean curves have one saving; its spread is that of the seeds
        pairs = seed_savings(ours, theirs, by, target)
        of_seeds = spread([pair.percent for pair in pairs])
        seeds = f'{of_seeds.count} of {len(pairs)}' if pairs else None
        rows.append((ours.name, theirs.name, saving.target, *costs,
                     saving.fewer, saving.percent, of_seeds.mean,
                     of_seeds.std, seeds))
    goal = (f'the final {metric} of the other method'
            if target is None else f'{metric} {target:g}')
    return NumberTable.make(f'{by} needed to reach {goal}', columns, rows)


def paired_table(curves: Sequence[MergedCurve],
                 by: str = 'boxes',
                 method: Optional[str] = None,
                 against: Optional[str] = None) -> NumberTable:
    """Differences of methods over the runs that share a seed.

    Of each two methods there is the difference of the mean heights of their
    curves over the costs that all runs cover; against one of them also that
    at the mean cost of each of its rounds, as far as they lie between, and
    at the last of these costs.

    Args:
        curves (sequence[MergedCurve]): The methods.
        by (str): 'images' or 'boxes', at which they are compared.
        method (str, optional): Only the differences of this one.
        against (str, optional): Only those from this one. Default: from
            each, and at the rounds of the last.

    Returns:
        NumberTable: A row has what :class:`mmal.evaluation.PairedDifference`
        has. It is empty without seeds or costs in common.
    """
    metric = curves[0].metric
    columns = {
        'method': 0, 'against': 0,
        **dict.fromkeys(('from', 'to'), _DIGITS.get(by, 0)), f'{metric} Δ': 3,
        '±': 3, 'low': 3, 'high': 3, 'p': 3, 'seeds': 0
    }
    rows, compared = [], set()
    span = common_span(curves, by)
    for ours, theirs in _comparisons(curves, method, against) if span else ():
        # from one to the other is from the other to the one, with a minus
        if (theirs.name, ours.name) in compared:
            continue
        compared.add((ours.name, theirs.name))
        intervals = [span]
        if theirs.name == (against or curves[-1].name):
            intervals += [(cost, cost)
                          for cost in (*theirs.series(by)[0], span[1])
                          if span[0] <= cost <= span[1]]
        for low, high in dict.fromkeys(intervals):  # all of one cost: once
            paired = seed_difference(ours, theirs, low, high, by)
            if paired:
                rows.append((ours.name, theirs.name, low, high,
                             *astuple(paired)))
    return NumberTable.make(
        f'{metric} above the other method at equal {by}, paired by seed, with '
        'a 95% interval', columns, rows)


def _comparisons(
        curves: Sequence[MergedCurve], method: Optional[str],
        against: Optional[str]) -> list[tuple[MergedCurve, MergedCurve]]:
    """Each method with each other one, or with those that are asked for."""
    return [(ours, theirs) for ours, theirs in permutations(curves, 2)
            if method in (None, ours.name) and against in (None, theirs.name)]


def rounds_table(curves: Sequence[MergedCurve]) -> NumberTable:
    """Tables 8 to 11 of ISAL, with deviations; where a round knows them,
    with the hours of labelling."""
    metric = curves[0].metric
    has_hours = any(r.hours.count for c in curves for r in c.rounds)
    columns = {
        'method': 0, 'round': 0, 'runs': 0, 'images': 0, 'images ±': 0,
        'boxes': 0, 'boxes ±': 0, **(dict(hours=2) if has_hours else {}),
        metric: 3, f'{metric} ±': 3, f'10k·{metric}/boxes': 4
    }
    rows = [(curve.name, r.round, r.value.count, r.images.mean, r.images.std,
             r.boxes.mean, r.boxes.std,
             *([r.hours.mean] if has_hours else []), r.value.mean,
             r.value.std, r.efficiency)
            for curve in curves for r in curve.rounds]
    return NumberTable.make('mean and standard deviation by round', columns,
                            rows)


def runs_table(curves: Sequence[MergedCurve]) -> NumberTable:
    """Which runs were merged, and how each of them ended."""
    metric = curves[0].metric
    columns = {'run': 0, 'method': 0, 'seed': 0, 'rounds': 0, 'images': 0,
               'boxes': 0, metric: 3, 'ended by': 0}
    rows = []
    for curve in curves:
        for run in curve.runs:
            last = run.curve.records[-1]  # may be one that others lack
            seed = None if run.seed is None else str(run.seed)
            rows.append((run.name, curve.name, seed, len(run.curve),
                         last.images, last.boxes, last.value(metric),
                         run.curve.stopped or 'not finished'))
    return NumberTable.make('the runs, in their own last round', columns, rows)


def draw_merged(curves: Sequence[MergedCurve], by: str = 'boxes') -> bytes:
    """Mean curves against images, boxes and, if asked for, hours, as PNG.

    A band is one standard deviation of the metric to either side. With more
    than seven methods there are none, as bands would hide the curves, and the
    legend stands beside the panels, in the order in which the curves end.

    Args:
        curves (sequence[MergedCurve]): The methods, of one metric.
        by (str): 'hours' adds a panel of the curves against the hours of
            labelling; with 'images' or 'boxes' there are the two panels of
            these.

    Returns:
        bytes: A PNG of two or three panels side by side.
    """
    axes = tuple(dict.fromkeys((*COSTS, by)))
    few = len(curves) <= len(COLOURS)
    colours = COLOURS if few else [
        hexadecimal(c) for c in class_colours(len(curves))]
    figure = new_figure(5 * len(axes) + (0 if few else 2.5),
                        max(4.2, 0.17 * len(curves)))
    panels = figure.subplots(1, len(axes), sharey=True)
    for panel, axis in zip(panels, axes):
        for i, curve in enumerate(curves):
            costs, values = curve.series(axis)
            count = len(curve.runs)
            panel.plot(
                costs,
                values,
                color=colours[i],
                marker=_MARKERS[i % len(_MARKERS)],
                markersize=4,
                label=f'{curve.name} ({amount(count, "run")})')
            if few and count > 1:  # one run has no deviation
                stds = [r.value.std for r in curve.rounds]
                panel.fill_between(
                    costs, [v - s for v, s in zip(values, stds)],
                    [v + s for v, s in zip(values, stds)],
                    color=colours[i], alpha=0.15, linewidth=0)
        finish_panel(panel, axis)
    panels[0].set_ylabel(curves[0].metric)
    if few:
        panels[0].legend(frameon=False, loc='lower right')
    else:
        lines, names = panels[0].get_legend_handles_labels()
        order = sorted(range(len(curves)),
                       key=lambda i: -curves[i].last.value.mean)
        figure.legend([lines[i] for i in order], [names[i] for i in order],
                      loc='outside right upper', frameon=False,
                      fontsize='small')
    return png_of(figure)


def write_merged(curves: Sequence[MergedCurve],
                 tables: dict[str, NumberTable],
                 notes: Sequence[str],
                 folder: str,
                 by: str = 'boxes') -> str:
    """Write ``merged.md``, ``curves.png`` and a csv file for each table.

    Args:
        curves (sequence[MergedCurve]): The methods.
        tables (dict[str, NumberTable]): From :func:`merged_tables`.
        notes (sequence[str]): Sentences for the end of the page.
        folder (str): Where to; it is made if need be.
        by (str): See :func:`draw_merged`.

    Returns:
        str: The path of the page.
    """
    # the page comes last, when all that it names is there
    for name, table in tables.items():
        write_text(osp.join(folder, f'{name}.csv'), table.csv())
    write_bytes(osp.join(folder, PICTURE_NAME), draw_merged(curves, by))
    parts = ['# ' + ', '.join(c.name for c in curves) + '\n',
             f'![{curves[0].metric} by labelled images and boxes'
             f'{", and by hours of labelling" if by == "hours" else ""}]'
             f'({PICTURE_NAME})\n',
             *(t.markdown() for t in tables.values())]
    if notes:
        parts.append('\n'.join(f'- {note}' for note in notes) + '\n')
    path = osp.join(folder, PAGE_NAME)
    write_text(path, '\n'.join(parts))
    return path
