"""What the cells of a benchmark brought, as tables, csv files and a page."""
from __future__ import annotations

import os.path as osp
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Optional

import numpy as np

from mmal.engine.fingerprint import digest, fingerprint
from mmal.evaluation import spread
from mmal.fileio import read_json, write_text
from mmal.pool import DataRecord, State, is_box
from mmal.reporting import (
    MergedCurve,
    NumberTable,
    PlainTable,
    Run,
    common_span,
    duration,
    merged_tables,
    seed_difference,
    write_merged,
)
from mmal.reporting.curve import AXES
from ..run_groups import read_run
from .cell import BenchmarkDir, Cell
from .processes import configs, is_finished
from .table import BenchmarkTable

# of the recorded environment what tells one machine from another
_ENVIRONMENT = ('mmal', 'torch', 'mmdet', 'mmengine', 'mmcv', 'numpy',
                'python', 'threads', 'device')


@dataclass(frozen=True)
class Outcome:
    """What became of a cell.

    Args:
        cell (Cell): The cell.
        status (str): 'done', 'failed', 'unfinished' or 'not run'.
        run (Run, optional): Its rounds; None without a finished one.
        error (str): Why it failed.
        code (str): The commits that it was run with, see
            :func:`~mmal.analysis.benchmark.processes.code_version`.
        config_hash (str): Hash of its config.
        data_hash (str): Hash of the labels of pool and validation set.
        environment (dict, optional): Versions, threads and device.
    """
    cell: Cell
    status: str
    run: Optional[Run] = None
    error: str = ''
    code: str = ''
    config_hash: str = ''
    data_hash: str = ''
    environment: Optional[dict] = None


def outcomes(table: BenchmarkTable, folder: BenchmarkDir) -> list[Outcome]:
    """What became of all cells of a table, in its order.

    A cell whose files cannot be read, or have not the metric of the table,
    counts as failed, so that it keeps nobody from the tables of the others.

    Args:
        table (BenchmarkTable): The table.
        folder (BenchmarkDir): Where its cells were run.

    Raises:
        FileNotFoundError, ValueError: See :meth:`BenchmarkTable.config`.
    """
    result, metric = [], table.settings.metric
    for cell, cfg in configs(table, table.cells()).items():
        work, record = folder.run(cell), {}
        if osp.isfile(folder.record(cell)):
            record = read_json(folder.record(cell))
        known = dict(error=record.get('error', ''),
                     config_hash=digest(fingerprint(cfg)),
                     code=' '.join(filter(None, record.get('code', []))))
        try:
            if osp.isfile(work.curve):
                known['run'] = read_run(work.path).run
            if osp.isfile(work.state):
                state = State.load(work.state)
                known.update(config_hash=state.config_hash,
                             environment=state.meta.get('environment'))
            if osp.isfile(work.data):
                known['data_hash'] = DataRecord.load(work.data).digest()
        except (OSError, ValueError) as e:
            known['error'] = known['error'] or str(e)
        if is_finished(work, cfg) and 'run' in known:
            status, records = 'done', known['run'].curve.records
            if all(r.value(metric) is None for r in records):
                status = 'failed'
                names = sorted({key for r in records for key in r.metrics})
                known['error'] = (
                    f'no round has {metric}, the metric of {table.path}, but '
                    f'{", ".join(names) or "none"}')
        elif known['error']:
            status = 'failed'
        elif osp.isfile(work.state):
            status = 'unfinished'
            if known['config_hash'] != digest(fingerprint(cfg)):
                known['error'] = (
                    'it was run with another config: give that back, or '
                    'another --work-dir')
        else:
            status = 'not run'
        result.append(Outcome(cell, status, **known))
    return result


def cells_table(table: BenchmarkTable,
                results: Sequence[Outcome]) -> NumberTable:
    """A row for each cell, whatever became of it.

    The mean of a curve is its height over the costs that all finished runs
    of the task cover (:func:`mmal.evaluation.area_under_curve`), by images,
    by boxes and by hours of labelling (the cost model of the budget).
    """
    metric = table.settings.metric
    spans = {task: _spans(_curves(table, results, task))
             for task in table.settings.tasks}
    columns = {
        'task': 0, 'method': 0, 'seed': 0, 'status': 0, 'rounds': 0,
        'images': 0, 'boxes': 0, 'hours': 2, metric: 3,
        **{f'mean {metric} by {axis}': 4 for axis in AXES},
        'config': 0, 'data': 0, 'code': 0, **dict.fromkeys(_ENVIRONMENT, 0),
        'command': 0, 'error': 0}
    rows = []
    for outcome in results:
        cell = outcome.cell
        values = [None] * (5 + len(AXES))
        if outcome.run is not None and outcome.run.curve.records:
            last = outcome.run.curve.records[-1]
            values[:5] = (len(outcome.run.curve), last.images, last.boxes,
                          last.hours, last.value(metric))
        if outcome.status == 'done':
            values[5:] = [
                outcome.run.curve.area(axis, metric, low=span[0], high=span[1])
                if span else None for axis, span in spans[cell.task].items()]
        environment = outcome.environment or {}
        rows.append((
            cell.task, cell.method, str(cell.seed), outcome.status, *values,
            outcome.config_hash, outcome.data_hash, outcome.code,
            *(str(environment.get(key, '')) for key in _ENVIRONMENT),
            f'mmal benchmark {table.path} --only {cell.name}', outcome.error))
    return NumberTable.make('the cells', columns, rows)


def rounds_table(table: BenchmarkTable,
                 results: Sequence[Outcome]) -> NumberTable:
    """A row for each round of each finished cell: the learning curves, from
    which means and intervals can be computed again.

    Args:
        table (BenchmarkTable): The table.
        results (sequence[Outcome]): All its cells.
    """
    metric = table.settings.metric
    return NumberTable.make(
        'the rounds of finished cells',
        {'task': 0, 'method': 0, 'seed': 0, 'round': 0, 'images': 0,
         'boxes': 0, 'hours': 2, metric: 3},
        [(o.cell.task, o.cell.method, str(o.cell.seed), r.round, r.images,
          r.boxes, r.hours, r.value(metric))
         for o in results if o.status == 'done'
         for r in o.run.curve.records])


def summary_table(table: BenchmarkTable, results: Sequence[Outcome],
                  task: Optional[str] = None) -> NumberTable:
    """A row for each method on each task.

    Beside mean and standard deviation over the finished runs there is the
    difference of the mean heights to those of ``against``, paired by seed,
    with its 95% interval (:func:`mmal.evaluation.paired_difference`).

    Args:
        table (BenchmarkTable): The table.
        results (sequence[Outcome]): All its cells.
        task (str, optional): This one alone.
    """
    metric = table.settings.metric
    columns = {'task': 0, 'method': 0, 'cells': 0, 'done': 0, 'failed': 0,
               metric: 3, f'{metric} ±': 3}
    for axis in AXES:
        columns.update({
            f'mean by {axis}': 4, f'{axis} ±': 4, f'Δ by {axis}': 4,
            f'{axis} low': 4, f'{axis} high': 4, f'{axis} p': 3})
    columns['pairs'] = 0
    rows = []
    for name in [task] if task else table.settings.tasks:
        curves = _curves(table, results, name)
        spans = _spans(curves)
        baseline = curves.get(table.against)
        for method in table.settings.methods:
            of_method = [o.status for o in results
                         if (o.cell.task, o.cell.method) == (name, method)]
            curve, pairs = curves.get(method), 0
            last = curve.last.value if curve else spread([])
            row = [name, method, len(of_method), of_method.count('done'),
                   of_method.count('failed'), last.mean, last.std]
            for axis, span in spans.items():
                height = curve.area(*span, axis) if curve and span else \
                    spread([])
                paired = None
                if span and curve and baseline and curve is not baseline:
                    paired = seed_difference(curve, baseline, *span, axis)
                row += [height.mean, height.std]
                if paired is None:
                    row += [None] * 4
                else:
                    mean, _, low, high, p, pairs = astuple(paired)
                    row += [mean, low, high, p]
            rows.append((*row, pairs or None))
    return NumberTable.make(
        f'mean {metric} over the costs that all runs of a task cover, and '
        f'its difference to {table.against}, paired by seed, with a 95% '
        'interval', columns, rows)


def short_table(table: BenchmarkTable, results: Sequence[Outcome],
                task: str, axes: Sequence[str] = AXES) -> PlainTable:
    """:func:`summary_table` of one task for a reader: the methods that a cell
    was run of, the highest mean by boxes first.

    A mean and its deviation, a difference and its interval are one column
    each, and a query has the mean of its seconds.

    Args:
        table (BenchmarkTable): The table.
        results (sequence[Outcome]): All its cells.
        task (str): The task.
        axes (sequence[str]): Of 'images', 'boxes' and 'hours'.
    """
    metric = table.settings.metric
    curves = _curves(table, results, task)
    header = ['method', 'done', 'a query', metric]
    for axis in axes:
        header += [f'mean by {axis}', f'− {table.against}']
    summary = summary_table(table, results, task)
    rows = [dict(zip(summary.header, values)) for values in summary.values]
    rows = [row for row in rows if row['done'] or row['failed']]
    rows.sort(key=lambda row: -1 if (mean := row['mean by boxes']) is None
              else mean, reverse=True)
    lines = []
    for row in rows:
        queries = _seconds(curves.get(row['method']), 'query_seconds')
        cells = [row['method'], f'{row["done"]} of {row["cells"]}',
                 duration(np.mean(queries) if queries else None),
                 _with_deviation(row[metric], row[f'{metric} ±'], 3)]
        for axis in axes:
            cells.append(_with_deviation(
                row[f'mean by {axis}'], row[f'{axis} ±'], 4))
            delta, low, high = (row[f'{key} {axis}' if key == 'Δ by' else
                                    f'{axis} {key}']
                                for key in ('Δ by', 'low', 'high'))
            cells.append('' if delta is None else f'{delta:+.4f}' + (
                '' if low is None else f' ({low:+.4f} to {high:+.4f})'))
        lines.append(tuple(cells))
    return PlainTable(f'{task}: {summary.title}', tuple(header), tuple(lines))


def classes_table(table: BenchmarkTable, results: Sequence[Outcome],
                  task: str, folder: BenchmarkDir) -> NumberTable:
    """Of which classes the labelled boxes are in the end, as a mean over the
    finished runs of each method: what a method looks for shows here.

    Args:
        table (BenchmarkTable): The table.
        results (sequence[Outcome]): All its cells.
        task (str): The task.
        folder (BenchmarkDir): Where its cells were run.

    Returns:
        NumberTable: A row for each method with a finished run whose labels
        are there.
    """
    counts: dict[str, list[Counter]] = {}
    names: dict[str, int] = {}  # an ordered set, the values are digits
    for outcome in results:
        if outcome.cell.task != task or outcome.status != 'done':
            continue
        last = outcome.run.curve.records[-1].round
        path = folder.run(outcome.cell).round(last).labelled
        if not osp.isfile(path):  # of a copy that has the curves alone
            continue
        labels = read_json(path)
        of = {c['id']: c['name'] for c in labels['categories']}
        names.update(dict.fromkeys(of.values(), 1))
        counts.setdefault(outcome.cell.method, []).append(
            Counter(of[a['category_id']] for a in labels['annotations']
                    if is_box(a)))
    return NumberTable.make(
        'labelled boxes of each class after the last round',
        {'method': 0, **names},
        [(method, *(np.mean([run[name] for run in counts[method]])
                    for name in names))
         for method in table.settings.methods if method in counts])


def _with_deviation(mean: Optional[float], deviation: Optional[float],
                    digits: int) -> str:
    if mean is None:
        return '–'
    return f'{mean:.{digits}f}' + (
        '' if deviation is None else f' ± {deviation:.{digits}f}')


def _seconds(curve: Optional[MergedCurve], part: str) -> list[float]:
    """Of all rounds of all runs of a method, where they were measured."""
    records = [r for run in curve.runs for r in run.curve.records] if curve \
        else []
    return [s for r in records if (s := getattr(r, part)) is not None]


def write_page(table: BenchmarkTable, results: Sequence[Outcome],
               folder: BenchmarkDir) -> str:
    """Write ``cells.csv``, ``rounds.csv``, ``summary.csv``, the tables and
    curves of each task, and ``benchmark.md``, which has all of them.

    Args:
        table (BenchmarkTable): The table.
        results (sequence[Outcome]): All its cells.
        folder (BenchmarkDir): Where to.

    Returns:
        str: The path of the page.
    """
    metric = table.settings.metric
    write_text(folder.cells, cells_table(table, results).csv())
    write_text(folder.rounds, rounds_table(table, results).csv())
    write_text(folder.summary, summary_table(table, results).csv())
    counts = [f'{sum(o.status == s for o in results)} {s}'
              for s in ('done', 'failed', 'unfinished', 'not run')
              if any(o.status == s for o in results)]
    parts = [f'# {table.name}\n',
             f'{len(results)} cells of `{table.path}`: {", ".join(counts)}. '
             'Every cell with its command, versions and hashes is in '
             '[cells.csv](cells.csv), their rounds in '
             '[rounds.csv](rounds.csv), every method on every task in '
             '[summary.csv](summary.csv).\n']
    bad = [o for o in results if o.status in ('failed', 'unfinished')]
    for task in table.settings.tasks:
        left = [m for m in table.settings.methods if not any(
            o.status != 'not run' for o in results
            if (o.cell.task, o.cell.method) == (task, m))]
        if left:
            parts.append(f'Not run on {task}: {", ".join(left)}.\n')
    if bad:
        parts.append(NumberTable.make(
            'cells that do not count', dict(cell=0, status=0, error=0),
            [(o.cell.name, o.status, o.error) for o in bad]).markdown())
    for task in table.settings.tasks:
        parts.append(f'## {task}\n')
        curves = list(_curves(table, results, task).values())
        if not curves:
            parts.append('No cell is done.\n')
            continue
        against = table.against if table.against in {
            c.name for c in curves} else None
        tables = merged_tables(curves, against=against)
        notes = [note for curve in curves for note in curve.notes]
        page = write_merged(curves, tables, notes, folder.task(task), 'hours')
        classes = classes_table(table, results, task, folder)
        write_text(osp.join(folder.task(task), 'classes.csv'), classes.csv())
        link = osp.relpath(osp.dirname(page), folder.path).replace('\\', '/')
        took = [duration(sum(sum(_seconds(c, part)) for c in curves) or None)
                for part in ('train_seconds', 'query_seconds')]
        parts += [f'Trainings took {took[0]} and queries {took[1]}, a first '
                  'training counted for each run that has it.\n',
                  # a page shows it small: a click shows it whole
                  f'[![{metric} by images, boxes and hours]'
                  f'({link}/curves.png)]({link}/curves.png)\n',
                  short_table(table, results, task).markdown(),
                  classes.markdown(),
                  f'[All tables of {task}]({link}/{osp.basename(page)})\n']
    write_text(folder.page, '\n'.join(parts))
    return folder.page


def _curves(table: BenchmarkTable, results: Sequence[Outcome],
            task: str) -> dict[str, MergedCurve]:
    """The finished runs of a task, by method."""
    runs = {
        method: [o.run for o in results if o.status == 'done'
                 and (o.cell.task, o.cell.method) == (task, method)]
        for method in table.settings.methods}
    return {method: MergedCurve(method, of_method, table.settings.metric)
            for method, of_method in runs.items() if of_method}


def _spans(curves: dict[str, MergedCurve]) -> dict:
    """By axis the costs that every run covers; None where there are none."""
    return {axis: common_span(list(curves.values()), axis) if curves else None
            for axis in AXES}
