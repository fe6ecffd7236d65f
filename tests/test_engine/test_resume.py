"""A run killed anywhere ends like one that was not."""
import os
import shutil

import numpy as np
import pytest
from helpers.forks import Kill
from helpers.runs import (
    TRAIN,
    ids_of,
    killed,
    leftovers,
    make_config,
    metrics_of,
    succeed,
    succeeded,
    typed,
)

from mmal.scores import Scores

pytestmark = pytest.mark.run
COMMIT = Kill('mmal.engine.run_state', 'RunState.save', 2, 'after')

# in the first of two rounds
KILLS = {
    'in the very first write': Kill('os', 'replace', path='identity.json'),
    'right after a file took its name': Kill('os', 'replace', 4, 'after'),
    'while a checkpoint is written': Kill(
        'os', 'replace', path='epoch_1.pth'),
    'between training and its metrics': Kill(
        'mmal.engine.hooks', 'TrainingHook.after_val_epoch'),
    # the first call is that of the rehearsal
    'in scoring': Kill('mmal.scoring', 'InfluenceScorer.process', 4),
    'between select and commit': Kill(
        'mmal.engine.query_result', 'QueryResult.save', when='after'),
    'before the first commit': Kill(
        'mmal.engine.run_state', 'RunState.save', 2),
}


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    return make_config(str(tmp_path_factory.mktemp('config')))


@pytest.fixture(scope='module')
def whole(config, tmp_path_factory):
    """The folder of a run of three rounds that nobody killed."""
    work_dir = str(tmp_path_factory.mktemp('whole') / 'work')
    succeed(TRAIN, config, '--work-dir', work_dir)
    return work_dir


@pytest.fixture(scope='module')
def committed(config, tmp_path_factory):
    """The folder of a run that was killed after its first commit."""
    work_dir = str(tmp_path_factory.mktemp('committed') / 'work')
    killed(COMMIT, TRAIN, config, '--work-dir', work_dir, '--resume')
    return work_dir


def rounds(number):
    return ('--cfg-options', f'active_learning.rounds={number}')


def check(work_dir, whole, number=3):
    assert ids_of(work_dir) == ids_of(whole)[:number]
    assert metrics_of(work_dir) == metrics_of(whole)[:number]
    assert leftovers(work_dir) == []


def test_the_uninterrupted_run_chooses_by_its_weights(whole):
    for number in (0, 1):
        path = os.path.join(whole, f'round_{number:02d}', 'scores.npz')
        values = Scores.load(path).values
        assert np.isfinite(values).all() and len(set(values)) == len(values)
    ids = ids_of(whole)
    assert [len(r) for r in ids] == [4, 3, 3]
    assert len({i for r in ids for i in r}) == 10


@pytest.mark.parametrize('kill', KILLS)
def test_killed_and_resumed_ends_the_same(config, whole, tmp_path, kill):
    work_dir = str(tmp_path / 'work')
    command = (TRAIN, config, '--work-dir', work_dir, '--resume', *rounds(2))
    killed(KILLS[kill], *command)
    if 'write' in kill:
        assert len(leftovers(work_dir)) == 1
    succeed(*command)
    check(work_dir, whole, 2)


def test_killed_after_the_first_commit(config, whole, committed, tmp_path):
    """A new interpreter goes on, as a user would start it."""
    work_dir = str(shutil.copytree(committed, tmp_path / 'work'))
    assert ids_of(work_dir) == ids_of(whole)[:2]
    succeeded(typed(TRAIN, config, '--work-dir', work_dir, '--resume',
                    *rounds(2)))
    check(work_dir, whole, 2)


def test_killed_in_the_middle_of_the_second_epoch_of_the_second_round(
        config, whole, committed, tmp_path):
    work_dir = str(shutil.copytree(committed, tmp_path / 'work'))
    command = (TRAIN, config, '--work-dir', work_dir, '--resume')
    killed(Kill('mmengine.runner.loops', 'EpochBasedTrainLoop.run_iter', 4),
           *command)
    assert os.listdir(os.path.join(work_dir, 'round_01')).count('epoch_1.pth')
    succeed(*command)
    check(work_dir, whole)


def test_more_rounds_go_on_from_the_last_one(config, whole, tmp_path):
    work_dir = str(tmp_path / 'work')
    succeed(TRAIN, config, '--work-dir', work_dir, *rounds(1))
    assert len(ids_of(work_dir)) == 1
    succeed(TRAIN, config, '--work-dir', work_dir, '--resume', *rounds(2))
    check(work_dir, whole, 2)


def test_iteration_based_training_resumes_alike(tmp_path, monkeypatch):
    """Also the draws of augmentation and of the endless sampler."""
    # how long torch waits for a worker that an endless sampler keeps busy
    monkeypatch.setattr(
        'torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL', .1)
    config = make_config(
        str(tmp_path),
        active_learning=dict(rounds=2),
        train_cfg=dict(
            _delete_=True,
            type='IterBasedTrainLoop',
            max_iters=6,
            val_interval=6),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=2,
                            by_epoch=False)),
        train_dataloader=dict(sampler=dict(type='InfiniteSampler')))
    outcomes = []
    for name in ('whole', 'killed'):
        work_dir = str(tmp_path / name)
        command = (TRAIN, config, '--work-dir', work_dir, '--resume')
        if name == 'killed':
            killed(Kill('mmengine.runner.loops',
                        'IterBasedTrainLoop.run_iter', 4), *command)
        succeed(*command)
        outcomes.append((ids_of(work_dir), metrics_of(work_dir)))
    assert outcomes[0] == outcomes[1]
