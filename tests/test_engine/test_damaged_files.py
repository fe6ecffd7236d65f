"""What a run can make again is made again; the rest is one message."""
import os
import shutil

import numpy as np
import pytest
from helpers.forks import Kill, fork_run
from helpers.runs import (
    TRAIN,
    ids_of,
    killed,
    make_config,
    metrics_of,
    succeed,
)

from mmal.fileio import read_json, write_json

pytestmark = pytest.mark.run


def cut_off(path):
    size = os.path.getsize(path)
    os.truncate(path, size // 2)


def empty(path):
    os.truncate(path, 0)


def noise(path):
    with open(path, 'wb') as f:
        f.write(np.random.default_rng(0).bytes(300))


def another_form(path):
    if path.endswith('.npz'):
        np.savez(path, ids=np.arange(3), values=np.zeros((2, 2)))
    else:
        write_json(path, [{'rounds': 3}])


def fewer_rows(path):
    """Of scores: whole, but of half of the images."""
    with np.load(path) as z:
        arrays = {k: v if k.startswith('bad') else v[::2]
                  for k, v in z.items()}
    np.savez(path, **arrays)


def pickled(path):
    np.savez(path, ids=np.array([{}, {}], object), values=np.zeros(2))


DAMAGES = [cut_off, empty, noise, another_form]
RANDOM = dict(rounds=2, scorer=dict(type='mmal.RandomScorer'))


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp('config'))
    return make_config(folder, active_learning=RANDOM)


@pytest.fixture(scope='module')
def whole(config, tmp_path_factory):
    """The folder of a run of two rounds."""
    work_dir = str(tmp_path_factory.mktemp('whole') / 'work')
    succeed(TRAIN, config, '--work-dir', work_dir)
    return work_dir


@pytest.fixture(scope='module')
def interrupted(config, tmp_path_factory):
    """One that was killed when the first query had chosen."""
    work_dir = str(tmp_path_factory.mktemp('killed') / 'work')
    killed(Kill('mmal.engine.run_state', 'RunState.commit', 2), TRAIN, config,
           '--work-dir', work_dir)
    return work_dir


@pytest.mark.parametrize('damage', [*DAMAGES, fewer_rows, pickled])
def test_scores_are_made_again(config, whole, interrupted, tmp_path,
                               damage):
    work_dir = str(shutil.copytree(interrupted, tmp_path / 'work'))
    path = os.path.join(work_dir, 'round_00', 'scores.npz')
    damage(path)
    done = succeed(TRAIN, config, '--work-dir', work_dir, '--resume')
    assert path in done.stdout + done.stderr
    assert 'scored again' in done.stdout + done.stderr
    assert ids_of(work_dir) == ids_of(whole)
    assert metrics_of(work_dir) == metrics_of(whole)


@pytest.mark.parametrize('damage', DAMAGES)
def test_files_of_a_round_in_progress_are_made_again(
        config, whole, interrupted, tmp_path, damage):
    work_dir = str(shutil.copytree(interrupted, tmp_path / 'work'))
    folder = os.path.join(work_dir, 'round_00')
    names = ['labelled.json', 'selected.json', 'config.py',
             'last_checkpoint', 'metrics.json']
    for name in names:
        damage(os.path.join(folder, name))
    damage(os.path.join(work_dir, 'identity.json'))
    done = succeed(TRAIN, config, '--work-dir', work_dir, '--resume')
    assert os.path.join(folder, 'metrics.json') in done.stdout + done.stderr
    assert ids_of(work_dir) == ids_of(whole)
    assert metrics_of(work_dir) == metrics_of(whole)
    for name in ('labelled.json', 'metrics.json'):
        assert read_json(os.path.join(folder, name)) == read_json(
            os.path.join(whole, 'round_00', name))


def counted(work_dir):
    """What a curve tells but the times."""
    return [{k: v for k, v in r.items() if not k.endswith('seconds')}
            for r in read_json(os.path.join(work_dir, 'curve.json'))['rounds']]


@pytest.mark.parametrize('damage', [os.unlink, *DAMAGES])
def test_the_curve_of_a_run_is_made_again(config, whole, tmp_path, damage):
    work_dir = str(shutil.copytree(whole, tmp_path / 'work'))
    path = os.path.join(work_dir, 'curve.json')
    damage(path)
    # what the curve is made of may be lost as well
    damage(os.path.join(work_dir, 'round_01', 'labelled.json'))
    done = succeed(TRAIN, config, '--work-dir', work_dir, '--resume')
    assert path in done.stdout + done.stderr
    assert counted(work_dir) == counted(whole)
    assert read_json(path)['stopped'] == 'rounds'
    assert read_json(path)['rounds'][0]['query_seconds'] > 0
    assert read_json(os.path.join(work_dir, 'round_01', 'labelled.json')) == \
        read_json(os.path.join(whole, 'round_01', 'labelled.json'))


@pytest.mark.parametrize('damage', DAMAGES)
def test_metrics_come_from_the_curve(config, whole, tmp_path, damage):
    work_dir = str(shutil.copytree(whole, tmp_path / 'work'))
    for number in (0, 1):
        damage(os.path.join(work_dir, f'round_0{number}', 'metrics.json'))
    done = succeed(TRAIN, config, '--work-dir', work_dir, '--resume')
    for number in (0, 1):
        name = os.path.join(f'round_0{number}', 'metrics.json')
        assert os.path.join(work_dir, name) in done.stdout + done.stderr
        assert read_json(os.path.join(work_dir, name)) == read_json(
            os.path.join(whole, name))
    assert counted(work_dir) == counted(whole)


def test_the_last_round_is_validated_again(config, whole, tmp_path):
    """Where neither curve nor log tell what it gave."""
    work_dir = str(shutil.copytree(whole, tmp_path / 'work'))
    os.unlink(os.path.join(work_dir, 'curve.json'))
    for number in (0, 1):
        folder = os.path.join(work_dir, f'round_0{number}')
        empty(os.path.join(folder, 'metrics.json'))
        for name in os.listdir(folder):
            if os.path.isdir(os.path.join(folder, name)):
                shutil.rmtree(os.path.join(folder, name))
    done = succeed(TRAIN, config, '--work-dir', work_dir, '--resume')
    assert 'validation of round 0' in done.stdout + done.stderr
    assert metrics_of(work_dir) == [{}, metrics_of(whole)[1]]
    assert ids_of(work_dir) == ids_of(whole)


def test_metrics_come_from_the_log(config, whole, tmp_path):
    """Where the curve is lost too. A log has no AP of a detector that
    detects nothing, so it gets one that was written by hand."""
    work_dir = str(shutil.copytree(whole, tmp_path / 'work'))
    os.unlink(os.path.join(work_dir, 'curve.json'))
    for number in (0, 1):
        folder = os.path.join(work_dir, f'round_0{number}')
        os.unlink(os.path.join(folder, 'metrics.json'))
        log = next(name for name in os.listdir(folder) if os.path.isdir(
            os.path.join(folder, name)))
        path = os.path.join(folder, log, 'vis_data', 'scalars.json')
        with open(path, 'a') as f:
            f.write('{"coco/bbox_mAP": 0.25, "coco/bbox_mAP_s": NaN, '
                    '"time": 0.01, "step": 2}\n{"coco/bbo')
    succeed(TRAIN, config, '--work-dir', work_dir, '--resume')
    assert metrics_of(work_dir) == 2 * [
        {'coco/bbox_mAP': .25, 'coco/bbox_mAP_s': None}]


@pytest.mark.parametrize('name', ['state.json', 'data.npz'])
@pytest.mark.parametrize('damage', DAMAGES)
def test_what_cannot_be_made_again_is_named(config, whole, tmp_path, name,
                                            damage):
    work_dir = str(shutil.copytree(whole, tmp_path / 'work'))
    path = os.path.join(work_dir, name)
    damage(path)
    done = fork_run(TRAIN, config, '--work-dir', work_dir, '--resume')
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    message = done.stderr[done.stderr.index('error: '):]
    assert path in message
    assert 'estore' in message or '--resume force' in message
