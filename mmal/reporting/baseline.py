"""Runs that the page of another run shows beside its own curve."""
from __future__ import annotations

import os.path as osp
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mmal.fileio import read_json
from mmal.pool import DataRecord, State
from mmal.pool.layout import WorkDir
from .curve import Curve
from .merged import MergedCurve, Run
from .page_options import from_work_dir

# What a method may do otherwise than its baseline, in keys of a fingerprint.
_METHOD = ('active_learning.', 'randomness.seed')
_KEYS_SHOWN = 3


@dataclass(frozen=True)
class Baseline:
    """Runs of a baseline, as a rule random ones with several seeds.

    Args:
        runs (sequence[Run]): Those that could be read; at least one.
        curves (dict[str, MergedCurve]): Metric -> their mean curve.
        notes (list[str]): What a reader must know of them.
    """
    runs: Sequence[Run]
    curves: dict[str, MergedCurve]
    notes: list[str] = field(default_factory=list)


def read_baseline(work: WorkDir, paths: Sequence[str],
                  metrics: Sequence[str]) -> Baseline:
    """Merge the curves of a baseline, and compare its data with a run's.

    A run that cannot be read is left out, as a note says: a page is made
    again without anybody who could answer. Paths in notes and names are from
    the work folder, since a page may be sent to others.

    Args:
        work (WorkDir): The run that they are a baseline of.
        paths (sequence[str]): Work folders of the baseline.
        metrics (sequence[str]): Those to merge, as far as all runs have them.

    Returns:
        Baseline: Its runs may be none.
    """
    notes: list[str] = []
    curves: dict[str, Curve] = {}
    for path in paths:
        try:
            curve = Curve.load(path)
            if not len(curve):
                raise ValueError('it has no finished round')
        except (OSError, ValueError) as e:
            seen, = from_work_dir([path], work)
            notes.append(f'Baseline without {seen}: ' +
                         str(e).replace(path, seen))
        else:
            curves[path] = curve
    names = Counter(osp.basename(osp.abspath(path)) for path in curves)
    runs, differences = [], {}
    for path, curve in curves.items():
        name = osp.basename(osp.abspath(path))
        if names[name] > 1:
            name, = from_work_dir([path], work)
        runs.append(Run(name, curve))
        for difference in data_differences(work, WorkDir(path)):
            differences.setdefault(difference, []).append(name)
    notes += [f'Baseline, {", ".join(of)}: {difference}.'
              for difference, of in differences.items()]

    merged: dict[str, MergedCurve] = {}
    problems = []
    for metric in metrics if runs else ():
        try:
            merged[metric] = MergedCurve('the baseline', runs, metric)
        except ValueError as e:
            problems.append(f'Baseline without {metric}: {e}')
    if merged:
        # of the other metrics they are the same
        problems += [f'Baseline: {n}'
                     for n in next(iter(merged.values())).notes
                     if 'single run' not in n]
    return Baseline(runs, merged, notes + problems)


def data_differences(ours: WorkDir, theirs: WorkDir) -> list[str]:
    """In what two runs differ that curves side by side should share.

    Args:
        ours (WorkDir): A run.
        theirs (WorkDir): Another one.

    Returns:
        list[str]: Of the other run what is not the same, or is not known to
        be: validation data, classes, pool, first labelled set, and settings
        other than those of active learning. Empty if all are the same.
    """
    notes = []
    try:
        mine, other = (DataRecord.load(w.data) for w in (ours, theirs))
    except (OSError, ValueError):
        notes.append('whether it has the same validation data and pool is not '
                     f'known, since a {osp.basename(ours.data)} cannot be '
                     'read')
    else:
        if mine.classes != other.classes:
            notes.append('other classes')
        tables = [r.tables.get('validation') for r in (mine, other)]
        if None in tables:
            notes.append('whether it has the same validation data is not '
                         'known')
        elif not np.array_equal(tables[0].rows, tables[1].rows):
            notes.append('other validation data, so its values cannot be '
                         'compared with those of this run')
        # ids, and names and sizes: other photos may be counted from 1 as well
        pools = [r.tables['pool'].rows for r in (mine, other)]
        if not all(np.array_equal(*(rows[column] for rows in pools))
                   for column in ('key', 'entry')):
            notes.append('another pool of images')
    try:
        first, others = (set(State.load(w.state).rounds[0]['ids'])
                         for w in (ours, theirs))
        if first != others:
            notes.append('another first labelled set')
    except (OSError, ValueError, IndexError):
        notes.append('whether it has the same first labelled set is not known')
    try:
        before, now = (read_json(w.identity) for w in (theirs, ours))
        keys = [k for k in sorted(before.keys() | now.keys())
                if not k.startswith(_METHOD)
                and before.get(k) != now.get(k)]
    except (OSError, ValueError, AttributeError):
        notes.append('whether it has the same settings of training is not '
                     'known')
    else:
        if keys:
            # a path, as of the data or of weights, is nobody else's business
            shown = ', '.join(
                k if any('/' in str(v.get(k)) or '\\' in str(v.get(k))
                         for v in (before, now)) else
                f'{k} is {before.get(k)} and not {now.get(k)}'
                for k in keys[:_KEYS_SHOWN])
            more = len(keys) - _KEYS_SHOWN
            notes.append(f'other settings: {shown}' +
                         (f', and {more} more' if more > 0 else ''))
    return notes
