"""Benchmarks: their tables, and runs that are shared, killed and failing."""
import csv
import io
import os
import re
import shutil

import numpy as np
import pytest
from helpers.benchmarks import Fork, make_table, run_table
from helpers.forks import ROOT, Kill, fork_run
from helpers.runs import TRAIN, ids_of, killed, metrics_of, succeed
from scipy.stats import t

from mmal.analysis.benchmark import (
    BenchmarkDir,
    BenchmarkTable,
    Cell,
    cells_table,
    classes_table,
    outcomes,
    plan,
    start_training,
    summary_table,
    write_page,
)
from mmal.analysis.benchmark.processes import configs, first_training
from mmal.commands import main
from mmal.engine import Settings
from mmal.fileio import read_json
from mmal.pool import draw_initial

METHODS = ('random', 'entropy', 'mixture')
AXES = ('images', 'boxes', 'hours')


@pytest.fixture(scope='module')
def path(tmp_path_factory):
    """A table of three methods, of which the last one fails."""
    return make_table(str(tmp_path_factory.mktemp('table')), METHODS)


@pytest.fixture(scope='module')
def whole(path, tmp_path_factory):
    """The folder of that benchmark, which nobody killed."""
    folder = str(tmp_path_factory.mktemp('whole') / 'work')
    succeed(lambda: run_table(path, folder) and None)
    return BenchmarkDir(folder)


def results(path, folder):
    """All three csv files as they are written."""
    table = BenchmarkTable(path)
    found = outcomes(table, folder)
    write_page(table, found, folder)
    texts = []
    for file in (folder.cells, folder.summary, folder.rounds):
        with open(file, encoding='utf-8') as f:
            texts.append(f.read())
    return texts


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.run
def test_a_failing_cell_is_told_and_stops_no_other(path, whole, capsys):
    cells = rows(results(path, whole)[0])
    assert [(c['method'], c['seed'], c['status']) for c in cells] == [
        (m, s, 'failed' if m == 'mixture' else 'done')
        for s in '01' for m in METHODS]
    for cell in cells:
        if cell['status'] == 'failed':
            assert 'carry no uncertainty' in cell['error']
            assert cell['AP'] == cell['mean AP by boxes'] == ''
        else:
            assert cell['rounds'] == '2' and float(cell['AP']) > 0
            assert cell['error'] == '' and cell['device'] == 'cpu'
        assert cell['command'].endswith(
            f'--only tiny/{cell["method"]}/{cell["seed"]}')
    assert len({c['config'] for c in cells}) == len(cells)
    assert len({c['data'] for c in cells if c['data']}) == 1
    assert main(['benchmark', path, '--work-dir', whole.path,
                 '--tables']) == 0
    printed = capsys.readouterr().out
    assert 'tiny/mixture/1 failed' in printed
    with open(whole.page, encoding='utf-8') as f:
        page = f.read()
    assert '4 done, 2 failed' in page and 'carry no uncertainty' in page
    assert re.search(r'took (\d+:\d+|\d.* s) and queries \d.* s', page)
    assert re.search(r'\| entropy \| 2 of 2 \| \d.* s \|', page)
    assert '| mixture | 0 of 2 | – |' in page
    means = [float(cell.split()[0]) for line in page.splitlines()
             if ' of 2 | ' in line
             for cell in [line.split(' | ')[6]] if cell[0].isdigit()]
    assert len(means) == 2 and means == sorted(means, reverse=True)
    assert os.path.getsize(f'{whole.task("tiny")}/curves.png') > 1000


@pytest.mark.run
@pytest.mark.parametrize('only, status', [('tiny/mixture/0', 1),
                                          ('tiny/entropy', 0)])
def test_the_exit_status_tells_whether_a_cell_failed(
        path, whole, only, status, monkeypatch, capsys):
    monkeypatch.setattr(
        'mmal.analysis.benchmark.processes.start_training', Fork)
    assert main(['benchmark', path, '--work-dir', whole.path, '--only',
                 only]) == status
    assert ('1 of 1 cells failed' in capsys.readouterr().err) == bool(status)


@pytest.mark.run
def test_methods_begin_with_the_same_images(whole):
    first = {(m, s): ids_of(whole.run(Cell('tiny', m, s)).path)[0]
             for m in METHODS[:2] for s in (0, 1)}
    assert first['random', 0] == first['entropy', 0]
    assert first['random', 1] == first['entropy', 1]
    assert first['random', 0] != first['random', 1]


@pytest.mark.run
def test_the_first_training_is_made_once_a_seed(path, whole, tmp_path):
    trainings = os.listdir(whole.first_trainings)
    assert len(trainings) == 2 and not any('.' in t for t in trainings)
    for seed in (0, 1):
        runs = [whole.run(Cell('tiny', m, seed)) for m in METHODS[:2]]
        logs = [open(run.log, encoding='utf-8').read() for run in runs]
        assert sum('as another run has done' in log for log in logs) == 1
        times = [read_json(r.curve)['rounds'][0]['train_seconds']
                 for r in runs]
        assert times[0] == times[1] > 0
    # the same without sharing
    cell = Cell('tiny', 'entropy', 0)
    alone = str(tmp_path / 'alone')
    succeed(TRAIN, whole.config(cell), '--work-dir', alone, '--seed', 0)
    assert ids_of(alone) == ids_of(whole.run(cell).path)
    assert metrics_of(alone) == metrics_of(whole.run(cell).path)


@pytest.mark.run
def test_killed_and_started_again_it_ends_the_same(path, whole, tmp_path):
    folder = BenchmarkDir(str(tmp_path / 'work'))
    # at the start of the fourth cell: some are done, and one may be running
    killed(Kill('mmal.analysis.benchmark.processes', 'write_json', 4),
           lambda: run_table(path, folder.path) and None)
    cells = rows(results(path, folder)[0])
    assert {'done', 'not run'} <= {c['status'] for c in cells}
    succeed(lambda: run_table(path, folder.path) and None)
    assert results(path, folder) == results(path, whole)
    # what is done is not begun again, and what has failed is
    before = read_json(folder.run(Cell('tiny', 'random', 0)).curve)
    done = fork_run(lambda: run_table(
        path, folder.path, only=['tiny/*/0']) and None)
    assert 'tiny/mixture/0 failed' in done.stderr + done.stdout
    assert 'tiny/random' not in done.stderr + done.stdout
    assert read_json(folder.run(Cell('tiny', 'random', 0)).curve) == before


@pytest.mark.run
@pytest.mark.parametrize('file', ['state', 'curve'])
def test_a_damaged_cell_is_told_and_the_others_count(path, whole, tmp_path,
                                                     file):
    folder = BenchmarkDir(str(shutil.copytree(whole.path, tmp_path / 'work')))
    damaged = getattr(folder.run(Cell('tiny', 'random', 0)), file)
    os.truncate(damaged, os.path.getsize(damaged) // 2)
    cells = rows(results(path, folder)[0])
    status = {(c['method'], c['seed']): c['status'] for c in cells}
    assert status['random', '0'] == 'failed'
    assert os.path.basename(damaged) in cells[0]['error']
    assert status['random', '1'] == status['entropy', '0'] == 'done'


@pytest.mark.run
def test_a_cell_of_another_config_is_not_gone_on_with(path, whole, tmp_path):
    folder = BenchmarkDir(str(shutil.copytree(whole.path, tmp_path / 'work')))
    changed = tmp_path / 'table.py'
    root = os.path.dirname(path)
    changed.write_text(
        f"benchmark = dict(tasks=dict(tiny={root + '/task.py'!r}), "
        f"methods=dict(random={root + '/random.py'!r}), seeds=[0], "
        "options={'active_learning.budget.size': 2})")
    cell, = rows(results(str(changed), folder)[0])
    assert (cell['status'], cell['error']) == (
        'unfinished', 'it was run with another config: give that back, or '
        'another --work-dir')
    succeed(lambda: run_table(str(changed), folder.path) and None)
    cell, = rows(results(str(changed), folder)[0])
    assert cell['status'] == 'failed'
    assert 'active_learning.budget.size: 3 -> 2' in cell['error']


@pytest.mark.run
def test_the_summary_is_that_of_the_cells(path, whole):
    """Heights by numpy's trapezoids, intervals by hand."""
    cells, summary, per_round = map(rows, results(path, whole))
    done = [c for c in cells if c['status'] == 'done']
    curves = {(c['method'], c['seed']): read_json(
        whole.run(Cell('tiny', c['method'], int(c['seed']))).curve)['rounds']
        for c in done}
    assert [(r['task'], r['method'], r['seed'], *(float(r[key]) for key in (
        'round', 'images', 'boxes', 'hours', 'AP'))) for r in per_round] == [
            ('tiny', *key, r['round'], r['images'], r['boxes'],
             pytest.approx(r['hours']),
             pytest.approx(r['metrics']['coco/bbox_mAP']))
            for key, records in curves.items() for r in records]
    by_method = {row['method']: row for row in summary}
    assert by_method['mixture']['failed'] == '2'
    for axis in AXES:
        low = max(r[0][axis] for r in curves.values())
        high = min(r[-1][axis] for r in curves.values())
        grid = np.linspace(low, high, 1001)
        heights = {}
        for key, records in curves.items():
            values = np.interp(grid, [r[axis] for r in records],
                               [r['metrics']['coco/bbox_mAP']
                                for r in records])
            heights[key] = np.trapezoid(values, grid) / (high - low)
        for c in done:
            assert float(c[f'mean AP by {axis}']) == pytest.approx(
                heights[c['method'], c['seed']], rel=1e-5)
        difference = [heights['entropy', s] - heights['random', s]
                      for s in '01']
        half = t.ppf(.975, 1) * np.std(difference, ddof=1) / 2**.5
        row = by_method['entropy']
        expected = np.mean(difference) + np.array([0, -half, half])
        assert [float(row[key]) for key in (
            f'Δ by {axis}', f'{axis} low', f'{axis} high')] == pytest.approx(
                expected, abs=1e-6)
        assert by_method['random'][f'Δ by {axis}'] == ''


@pytest.mark.run
def test_the_page_counts_the_labelled_boxes_of_each_class(path, whole):
    table = BenchmarkTable(path)
    counted = classes_table(table, outcomes(table, whole), 'tiny', whole)
    assert [row[0] for row in counted.values] == ['random', 'entropy']
    for method, *means in counted.values:
        labels = [read_json(whole.run(Cell('tiny', method, seed)).round(
            1).labelled) for seed in (0, 1)]
        for name, mean in zip(counted.header[1:], means):
            boxes = [a for file in labels for a in file['annotations']
                     for c in file['categories']
                     if c['id'] == a['category_id'] and c['name'] == name]
            assert mean == len(boxes) / 2
    results(path, whole)
    with open(f'{whole.task("tiny")}/classes.csv', encoding='utf-8') as f:
        assert f.read() == counted.csv()


@pytest.mark.run
def test_runs_without_the_metric_are_told_and_stop_no_page(
        path, whole, tmp_path, capsys):
    folder = str(tmp_path / 'work')
    shutil.copytree(whole.path, folder)
    table = f'{path[:-3]}_metric.yaml'
    with open(table, 'w') as f:
        f.write(f'_base_: {path}\nbenchmark: {{metric: wAP}}\n')
    arguments = ['benchmark', table, '--work-dir', folder]
    assert main([*arguments, '--tables']) == 0
    assert 'no round has wAP, the metric of' in capsys.readouterr().out
    with open(BenchmarkDir(folder).page, encoding='utf-8') as f:
        assert '6 failed' in f.read()
    assert main([*arguments, '--only', 'tiny/random/0']) == 1
    assert '1 of 1 cells failed' in capsys.readouterr().err


def test_a_table_of_which_nothing_was_run(tmp_path, capsys):
    table = make_table(str(tmp_path))
    work = str(tmp_path / 'work')
    assert main(['benchmark', table, '--work-dir', work, '--tables']) == 0
    page = BenchmarkDir(work).page
    assert capsys.readouterr().out == f'{page}\n'
    with open(page, encoding='utf-8') as f:
        text = f.read()
    assert '4 not run' in text and 'Not run on tiny: random, entropy.' in text


def test_a_run_is_a_new_interpreter_with_a_log(tmp_path):
    log = str(tmp_path / 'log')
    for arguments, status in ((['--version'], 0), (['trian'], 2)):
        assert start_training(arguments, log).wait() == status
    with open(log, encoding='utf-8') as f:
        text = f.read()
    assert text.startswith('mmal 0.') and "did you mean 'train'" in text


def test_cells_come_by_task_seed_and_method(path):
    table = BenchmarkTable(path)
    assert [c.name for c in table.cells()] == [
        f'tiny/{m}/{s}' for s in (0, 1) for m in METHODS]
    assert [c.name for c in table.cells(['*/entropy', 'tiny/r*/1'])] == [
        'tiny/entropy/0', 'tiny/random/1', 'tiny/entropy/1']
    with pytest.raises(ValueError, match='--only tiny/isal fits no cell'):
        table.cells(['tiny/random', 'tiny/isal'])


def test_nothing_is_run_without_a_word_on_what_is_not_run(path, tmp_path):
    table, folder = BenchmarkTable(path), BenchmarkDir(str(tmp_path))
    found = outcomes(table, folder)
    assert {o.status for o in found} == {'not run'}
    assert len(cells_table(table, found).rows) == 6
    summary = summary_table(table, found)
    assert [row[3] for row in summary.values] == [0, 0, 0]
    with open(write_page(table, found, folder), encoding='utf-8') as f:
        assert 'No cell is done.' in f.read()


def test_a_dry_run_checks_each_method(path, tmp_path):
    table, folder = BenchmarkTable(path), BenchmarkDir(str(tmp_path))
    text = plan(table, table.cells(), folder)
    assert 'carry no uncertainty' in ' '.join(text.split())
    assert text.endswith('6 cells are left, with 12 rounds at most; their 6 '
                         'first rounds are 2 trainings.')
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('block, message', [
    ('', 'has no benchmark=dict'),
    ("benchmark = dict(tasks={}, methods=dict(a='a.py'), seeds=[0])",
     'benchmark.tasks is {}: give a dict of at least one config'),
    ("benchmark = dict(tasks=dict(a='a.py'), method={}, seeds=[0])",
     'benchmark.method is not known. Did you mean methods'),
    ("benchmark = dict(tasks=dict(a='a.py'), methods=dict(b='b.py'), "
     'seeds=[1, 1])', 'give each seed once'),
    ("benchmark = dict(tasks=dict(a='a.py'), methods={'b/c': 'b.py'}, "
     'seeds=[1])', 'benchmark.methods'),
    ("benchmark = dict(tasks=dict(a='a.py'), methods=dict(b='b.py'), "
     "seeds=[1], against='isal')", "against is 'isal': it must be one of b"),
])
def test_mistakes_in_a_table_are_told(tmp_path, block, message):
    path = tmp_path / 'table.py'
    path.write_text(block)
    with pytest.raises(ValueError) as e:
        BenchmarkTable(str(path))
    assert message in str(e.value)


@pytest.mark.parametrize('task, method, message', [
    ('gone.py', 'random.py', 'there is no config .*gone.py, which'),
    ('random.py', 'random.py', 'has no active_learning block'),
    ('task.py', 'task.py', 'sets no al_method'),
])
def test_configs_that_do_not_fit_are_named(path, tmp_path, task, method,
                                           message):
    folder = os.path.dirname(path)
    other = tmp_path / 'table.py'
    other.write_text(
        f"benchmark = dict(tasks=dict(a={os.path.join(folder, task)!r}), "
        f'methods=dict(b={os.path.join(folder, method)!r}), seeds=[0])')
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        BenchmarkTable(str(other)).config('a', 'b')


@pytest.mark.parametrize('name', ['leaderboard', 'leaderboard_gpu'])
def test_every_cell_of_the_leaderboards_has_a_config(name):
    table = BenchmarkTable(
        os.path.join(ROOT, 'configs', 'benchmarks', f'{name}.yml'))
    for task, method in {(c.task, c.method) for c in table.cells()}:
        Settings.from_config(table.config(task, method))
    for task in table.settings.tasks:
        keys = {cell.method: first_training(cfg) for cell, cfg in configs(
            table, table.cells([f'{task}/*/0'])).items()}
        assert keys['random'] == keys['isal'] == keys['core-set']
        # learning loss has a model of its own
        assert keys['random'] != keys['llal']


def test_methods_that_choose_the_first_images_train_their_own():
    table = BenchmarkTable(
        os.path.join(ROOT, 'configs', 'benchmarks', 'few_labels.yml'))
    for task in table.settings.tasks:
        keys = {}
        for cell, cfg in configs(table, table.cells([f'{task}/*/0'])).items():
            initial = Settings.from_config(cfg).initial
            keys[cell.method] = first_training(cfg)
            random = cell.method in ('random', 'core-set-later')
            assert (initial.selector is None) == random
        assert keys.pop('core-set-later') == keys['random']
        assert len(set(keys.values())) == len(keys)


def test_films_are_kept_apart_by_three_methods():
    table = BenchmarkTable(
        os.path.join(ROOT, 'configs', 'benchmarks', 'redundant.yml'))
    task, = table.settings.tasks
    for method in table.settings.methods:
        spacing = Settings.from_config(table.config(task, method)).spacing
        assert (spacing is None) != method.endswith(('-films', '-distance'))


def test_the_leaderboards_have_the_same_methods():
    small, large = (BenchmarkTable(os.path.join(
        ROOT, 'configs', 'benchmarks', f'{name}.yml'))
        for name in ('leaderboard', 'leaderboard_gpu'))
    assert list(small.settings.methods) == list(large.settings.methods)
    assert list(large.settings.tasks) == ['voc07mini']
    for table in small, large:
        for task in table.settings.tasks:
            # as the runs of PPAL in configs/al
            assert table.config(task, 'ppal').custom_hooks == [
                dict(type='mmal.ClassDifficultyHook', momentum=0.99)]


@pytest.mark.parametrize('name, images', [
    ('mdn_first-sets', 2000), ('mdn_first-sets_digits', 60)])
def test_first_sets_are_five_and_nothing_else_differs(name, images):
    table = BenchmarkTable(
        os.path.join(ROOT, 'configs', 'benchmarks', f'{name}.yml'))
    (task, ), (method, ) = table.settings.tasks, table.settings.methods
    block = Settings.from_config(table.config(task, method))
    assert (block.rounds, block.initial.size) == (1, images)
    seeds = [c.seed for c in table.cells()]
    assert seeds == [0, 1, 2, 3, 4]
    sets = {frozenset(draw_initial(range(5011), images, s)) for s in seeds}
    assert len(sets) == 5


def test_options_of_a_method_come_last(path, tmp_path):
    folder = os.path.dirname(path)
    table = tmp_path / 'table.yaml'
    table.write_text(f'''
benchmark:
  tasks:
    tiny: {{config: {folder}/task.py, options: {{active_learning.rounds: 5}}}}
  methods:
    random: {folder}/random.py
    few: {{config: {folder}/random.py, options: {{active_learning.rounds: 2}}}}
  seeds: [3]
  options: {{active_learning.rounds: 4, active_learning.budget.size: 1}}
''')
    table = BenchmarkTable(str(table))
    blocks = [table.config('tiny', m).active_learning
              for m in ('random', 'few')]
    assert [b.rounds for b in blocks] == [5, 2]
    assert [b.budget.size for b in blocks] == [1, 1]
    assert blocks[0].scorer.type == 'mmal.RandomScorer'
