"""The committed leaderboards: nothing left out, and no number by hand."""
import csv
import os.path as osp
import re
from collections import defaultdict

import numpy as np
import pytest
from helpers.forks import ROOT
from scipy.stats import t

from mmal.analysis.benchmark import BenchmarkTable

DOCS = osp.join(ROOT, 'docs')
# table -> folder of its results in docs
FOLDERS = dict(leaderboard='leaderboard', redundant='leaderboard/redundant',
               few_labels='leaderboard/few_labels')
AXES = ('images', 'boxes', 'hours')
# run before benchmarks kept the rounds of each cell
WITHOUT_ROUNDS = {'neudet-longtail'}


def read(table, name):
    path = osp.join(DOCS, FOLDERS[table], f'{name}.csv')
    with open(path, encoding='utf-8') as f:
        return list(csv.DictReader(f))


@pytest.fixture(params=FOLDERS)
def table(request):
    return request.param


def test_cells_are_those_of_the_table(table):
    """Whatever became of them; a method that is new may be missing."""
    rows = [(c['task'], c['method'], int(c['seed']))
            for c in read(table, 'cells')]
    settings = BenchmarkTable(
        osp.join(ROOT, 'configs', 'benchmarks', f'{table}.yml'))
    known = [(c.task, c.method, c.seed) for c in settings.cells()]
    assert rows == [cell for cell in known if cell in set(rows)]
    for task, method, _ in rows:
        assert {(task, method, seed) for seed in settings.settings.seeds} <= \
            set(rows)


def test_what_was_run_can_be_told_from_other_runs(table):
    done = [c for c in read(table, 'cells') if c['status'] == 'done']
    assert done
    for cell in done:
        for key in ('config', 'data', 'code', 'mmal', 'torch', 'mmdet',
                    'numpy', 'python', 'threads', 'device', 'command'):
            assert cell[key], key
        assert '+' not in cell['code']  # of committed code alone
    for task in {c['task'] for c in done}:
        assert len({c['data'] for c in done if c['task'] == task}) == 1


@pytest.mark.parametrize('axis', AXES)
def test_means_are_those_of_the_cells(table, axis):
    cells = read(table, 'cells')
    for row in read(table, 'summary'):
        of = [c for c in cells if c['status'] == 'done'
              and (c['task'], c['method']) == (row['task'], row['method'])]
        assert int(row['done']) == len(of)
        if of:
            values = [float(c[f'mean AP by {axis}']) for c in of]
            assert float(row[f'mean by {axis}']) == pytest.approx(
                np.mean(values), abs=1e-6)


@pytest.mark.parametrize('axis', AXES)
def test_means_and_intervals_are_those_of_the_rounds(table, axis):
    """Heights by numpy's trapezoids, intervals by scipy's quantiles."""
    curves = defaultdict(list)
    for r in read(table, 'rounds'):
        curves[r['task'], r['method'], r['seed']].append(
            (float(r[axis]), float(r['AP'])))
    cells = {(c['task'], c['method'], c['seed']): c
             for c in read(table, 'cells') if c['status'] == 'done'}
    assert set(curves) == {key for key in cells
                           if key[0] not in WITHOUT_ROUNDS}
    heights = {}
    for task in {key[0] for key in curves}:
        own = {key: np.array(curve).T for key, curve in curves.items()
               if key[0] == task}
        low = max(costs[0] for costs, _ in own.values())
        high = min(costs[-1] for costs, _ in own.values())
        assert low < high
        for key, (costs, values) in own.items():
            at = np.union1d(costs[(low < costs) & (costs < high)],
                            [low, high])
            heights[key] = np.trapezoid(
                np.interp(at, costs, values), at) / (high - low)
            assert float(cells[key][f'mean AP by {axis}']) == pytest.approx(
                heights[key], abs=1e-6)
    compared = 0
    for row in read(table, 'summary'):
        pairs = [(height, heights[row['task'], 'random', key[2]])
                 for key, height in heights.items()
                 if key[:2] == (row['task'], row['method'])
                 and (row['task'], 'random', key[2]) in heights]
        if row['method'] == 'random' or len(pairs) < 2:
            continue
        difference = np.subtract(*np.transpose(pairs))
        half = t.ppf(.975, len(pairs) - 1) * difference.std(
            ddof=1) / len(pairs)**.5
        expected = difference.mean() + np.array([0, -half, half])
        assert [float(row[key]) for key in (
            f'Δ by {axis}', f'{axis} low', f'{axis} high')] == pytest.approx(
                expected, abs=1e-6)
        compared += 1
    assert compared > 4


def test_the_page_on_choosing_has_the_numbers_of_the_leaderboards():
    with open(osp.join(DOCS, 'choosing.md'), encoding='utf-8') as f:
        text = f.read()
    seen = defaultdict(int)
    for part in re.split(r'\n##+ ', text)[1:]:
        run = re.search(r'`mmal benchmark configs/benchmarks/(\w+)\.yml '
                        r'--only ([\w-]+)`', part)
        rows = re.findall(r'^\| ([\w-]+) \| (\d+) \| (\S+) \| (\S+ ± \S+) '
                          r'\| (.*?) \|$', part, re.M)
        assert bool(rows) == bool(run)
        for method, runs, last, mean, difference in rows:
            row, = (r for r in read(run[1], 'summary')
                    if (r['task'], r['method']) == (run[2], method))
            assert int(runs) == int(row['done'])
            assert last == f'{float(row["AP"]):.3f}'
            assert mean == (f'{float(row["mean by boxes"]):.4f} ± '
                            f'{float(row["boxes ±"]):.4f}')
            if method != 'random':
                assert difference == '{:+.4f} ({:+.4f} to {:+.4f})'.format(*(
                    float(row[key]) for key in (
                        'Δ by boxes', 'boxes low', 'boxes high')))
            seen[run[1], run[2]] += 1
        if run:  # a table on the page leaves no method out
            assert seen[run[1], run[2]] == sum(
                r['task'] == run[2] and int(r['done']) > 1
                for r in read(run[1], 'summary'))
    assert len(seen) > 4 and sum(seen.values()) > 40
