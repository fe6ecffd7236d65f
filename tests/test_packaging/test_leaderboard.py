"""The committed leaderboard: nothing left out, and no number by hand."""
import csv
import os.path as osp
import re

import numpy as np
import pytest
from helpers.forks import ROOT

from mmal.analysis.benchmark import BenchmarkTable

DOCS = osp.join(ROOT, 'docs')
TABLE = osp.join(ROOT, 'configs', 'benchmarks', 'leaderboard.yml')


def read(name):
    with open(osp.join(DOCS, 'leaderboard', f'{name}.csv'),
              encoding='utf-8') as f:
        return list(csv.DictReader(f))


CELLS, SUMMARY = read('cells'), read('summary')


def test_cells_are_those_of_the_table():
    """Whatever became of them; a method that is new may be missing."""
    rows = [(c['task'], c['method'], int(c['seed'])) for c in CELLS]
    known = [(c.task, c.method, c.seed) for c in BenchmarkTable(TABLE).cells()]
    assert rows == [cell for cell in known if cell in set(rows)]
    for task, method, _ in rows:
        assert {(task, method, seed) for seed in range(5)} <= set(rows)


def test_what_was_run_can_be_told_from_other_runs():
    done = [c for c in CELLS if c['status'] == 'done']
    assert done
    for cell in done:
        for key in ('config', 'data', 'code', 'mmal', 'torch', 'mmdet',
                    'numpy', 'python', 'threads', 'device', 'command'):
            assert cell[key], key
        assert '+' not in cell['code']  # of committed code alone
    for task in {c['task'] for c in done}:
        assert len({c['data'] for c in done if c['task'] == task}) == 1


@pytest.mark.parametrize('axis', ['images', 'boxes', 'hours'])
def test_means_are_those_of_the_cells(axis):
    for row in SUMMARY:
        of = [c for c in CELLS if c['status'] == 'done'
              and (c['task'], c['method']) == (row['task'], row['method'])]
        assert int(row['done']) == len(of)
        if of:
            values = [float(c[f'mean AP by {axis}']) for c in of]
            assert float(row[f'mean by {axis}']) == pytest.approx(
                np.mean(values), abs=1e-6)


def test_the_page_on_choosing_has_the_numbers_of_the_leaderboard():
    with open(osp.join(DOCS, 'choosing.md'), encoding='utf-8') as f:
        text = f.read()
    seen = 0
    for part in text.split('\n## ')[1:]:
        task = re.search(r'`mmal benchmark [^`]*--only ([\w-]+)`', part)
        rows = re.findall(r'^\| ([\w-]+) \| (\d+) \| (\S+) \| (\S+ ± \S+) '
                          r'\| (.*?) \|$', part, re.M)
        assert bool(rows) == bool(task)
        for method, runs, last, mean, difference in rows:
            row, = (r for r in SUMMARY
                    if (r['task'], r['method']) == (task[1], method))
            assert int(runs) == int(row['done'])
            assert last == f'{float(row["AP"]):.3f}'
            assert mean == (f'{float(row["mean by boxes"]):.4f} ± '
                            f'{float(row["boxes ±"]):.4f}')
            if method != 'random':
                assert difference == '{:+.4f} ({:+.4f} to {:+.4f})'.format(*(
                    float(row[key]) for key in (
                        'Δ by boxes', 'boxes low', 'boxes high')))
            seen += 1
    assert seen > 12
