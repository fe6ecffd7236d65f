"""Grouping of runs, and the tool that reports on them."""
import os

import pytest
from helpers.mdn_runs import tool

from mmal.analysis.run_groups import finished, group_runs, parse_group
from mmal.fileio import write_json
from mmal.reporting import Curve, Record


@pytest.fixture
def make(tmp_path):
    """Writes a work folder of two rounds; returns its path."""

    def write(name, seed=0, scorer='random', values=(.1, .2), stopped='rounds',
              identity=True, **more):
        path = str(tmp_path / name)
        Curve([Record(r, 10 * r + 10, 30 * r + 30 + seed,
                      {'coco/bbox_mAP': v}) for r, v in enumerate(values)],
              stopped).save(os.path.join(path, 'curve.json'))
        if identity:
            write_json(os.path.join(path, 'identity.json'), {
                'active_learning.scorer.type': scorer,
                'active_learning.seed': seed, **more})
        return path

    return write


def names(groups):
    return {name: [run.name for run in runs] for name, runs in groups.items()}


def test_runs_that_differ_in_the_seed_belong_together(make):
    paths = [make('isal_0', 0, 'isal'), make('random_0'),
             make('random_seed1', 1), make('isal-02', 2, 'isal')]
    found = group_runs(paths)
    assert names(found) == {'isal': ['isal_0', 'isal-02'],
                            'random': ['random_0', 'random_seed1']}
    assert [run.seed for run in found['isal']] == [0, 2]
    assert len(found['random'][0].curve) == 2


def test_a_number_that_is_no_seed_stays(make):
    assert list(group_runs([make('voc_2012', 3)])) == ['voc_2012']


def test_folders_that_say_nothing_go_by_their_names(make):
    paths = [make(n, identity=False) for n in ('a_0', 'a_1', 'b_0', 'x/a_0')]
    found = names(group_runs(paths[:3]))
    assert found == {'a': ['a_0', 'a_1'], 'b': ['b_0']}
    elsewhere = group_runs([paths[0], paths[3]])
    assert list(elsewhere)[1] == 'x/a'
    # two runs called a_0 are told apart by their paths
    assert [r.name for g in elsewhere.values() for r in g] == [
        paths[0], paths[3]]


def test_the_seed_of_the_pool_counts_without_identity(make):
    path = make('a_4', identity=False)
    write_json(os.path.join(path, 'state.json'), {'seed': 4})
    assert group_runs([path])['a'][0].seed == 4


def test_given_groups_are_taken_as_they_are(make):
    paths = [make('a_0', 0, 'isal'), make('b_1', 1), make('c_2', 2)]
    found = group_runs(paths[2:], {'mine': paths[:2]})
    assert names(found) == {'c': ['c_2'], 'mine': ['a_0', 'b_1']}
    with pytest.raises(ValueError, match='--group c has the name'):
        group_runs(paths[2:], {'c': paths[:2]})


def test_runs_that_would_count_twice_are_refused(make):
    path = make('a_0')
    with pytest.raises(ValueError, match='a_0/ is given more than once'):
        group_runs([path + '/'], {'b': [path]})
    with pytest.raises(ValueError, match='the same seed 0: they would'):
        group_runs([path, make('again')])


def test_one_name_for_two_configs_is_refused(make):
    paths = [make('a_0', lr=1), make('a_1', 1, lr=2)]
    with pytest.raises(ValueError) as error:
        group_runs(paths)
    assert 'differ in more than the seed:\n  lr: 1 -> 2\n' in str(error.value)
    assert names(group_runs([], {'a': paths})) == {'a': ['a_0', 'a_1']}


def test_what_is_no_run_is_named(make, tmp_path):
    with pytest.raises(FileNotFoundError, match='no work folder .*gone'):
        group_runs([str(tmp_path / 'gone')])
    with pytest.raises(FileNotFoundError, match='has no curve.json'):
        group_runs([str(tmp_path)])
    with pytest.raises(FileNotFoundError, match='no work folder .*gone'):
        finished([str(tmp_path / 'gone')])


def test_finished_runs(make, tmp_path):
    paths = [make('a_0'), make('a_1', 1, stopped=None), str(tmp_path)]
    assert finished(paths) == paths[:1]


def test_groups_on_the_command_line(make, tmp_path):
    paths = [make('a_0'), make('a_1', 1)]
    (tmp_path / 'a_0.log').touch()
    assert parse_group(f'a={tmp_path}/a_*') == ('a', paths)
    assert parse_group('a=x,y=z') == ('a', ['x', 'y=z'])
    for text in ('a', 'a=', '=x', 'a=,'):
        with pytest.raises(ValueError, match='write NAME=RUN,RUN'):
            parse_group(text)
    with pytest.raises(ValueError, match='no folder fits'):
        parse_group(f'a={tmp_path}/b_*')


@pytest.fixture
def report(capsys):
    """Runs the tool; gives exit status, output and errors."""

    def call(*args):
        status = tool('al_report.py').main([*args])
        return (status, *capsys.readouterr())

    return call


def test_the_tool_writes_and_prints_the_same(make, report, tmp_path):
    paths = [make(f'isal_{s}', s, 'isal', (.1, .4)) for s in (0, 1)]
    paths += [make(f'random_{s}', s) for s in (0, 1)]
    out = str(tmp_path / 'out')
    status, printed, _ = report(*paths, '--out', out, '--no-page')
    assert status == 0 and printed.endswith(f'{out}/merged.md\n')
    with open(os.path.join(out, 'boxes_needed.csv'), encoding='utf-8') as f:
        line = f.read().splitlines()[1]
    # a third of the way from 30.5 to 60.5 boxes
    method, against, _, boxes, theirs, *_, seeds = line.split(',')
    assert (method, against, seeds) == ('isal', 'random', '2 of 2')
    assert float(boxes) == pytest.approx(40.5) and theirs == '60.5'
    assert 'isal' in printed and '33.1' in printed
    # the runs are not touched
    assert sorted(os.listdir(paths[0])) == ['curve.json', 'identity.json']


def test_the_tool_leaves_out_what_is_not_finished(make, report):
    paths = [make('isal_0', 0, 'isal'), make('random_0'),
             make('random_1', 1, values=(.1, ), stopped=None)]
    _, printed, _ = report(*paths)
    assert 'random_1 is not finished: it has 1 round.' in printed
    status, printed, _ = report(*paths, '--finished')
    assert status == 0 and 'random_1 is not finished and left out.' in printed
    _, printed, _ = report(paths[0], '--finished', '--group',
                           f'other={paths[1]},{paths[2]}')
    assert 'other is a single run' in printed
    assert report(paths[2], '--finished')[0] == 1


@pytest.mark.parametrize('args, message', [
    ([], 'there are no runs'), (['--group', 'x'], 'NAME=RUN'),
    (['gone'], 'no work folder gone'),
    (['--group', 'a=x', '--group', 'a=y'], 'the same name')])
def test_mistakes_are_explained(report, args, message):
    status, _, errors = report(*args)
    assert status == 1 and message in errors


def test_a_metric_that_is_not_there(make, report):
    status, _, errors = report(make('a_0'), '--metric', 'accuracy/top1')
    assert status == 1 and 'It has coco/bbox_mAP.' in errors
    assert report(make('a_0'), '--metric', 'coco/bbox_mAP')[0] == 0
