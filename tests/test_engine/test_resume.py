"""A run killed anywhere ends like one that was not."""
import json
import os
import signal

import numpy as np
import pytest
from helpers.runs import SABOTAGE, TRAIN, make_config, run, succeed

from mmal.scores import Scores

# module, function, which call, before or after it, what happens there
KILLS = [
    ('mmengine.runner.loops', 'EpochBasedTrainLoop.run_iter', 4, 'before',
     'in the middle of the second epoch of the second round'),
    ('mmal.fileio', '_sync_folder', 4, 'before',
     'right after a file took its name'),
    ('mmal.fileio', 'os.replace', 1, 'before', 'in the very first write'),
    ('mmal.fileio', 'os.replace', 9, 'before',
     'while a checkpoint is written'),
    ('mmal.scoring.isal.influence_scorer', 'InfluenceScorer.process', 3, 'before',
     'in scoring'),
    ('mmal.engine.query', 'Selection.save', 1, 'after',
     'between select and commit'),
    ('mmal.engine.run_state', 'RunState.save', 2, 'before',
     'before the first commit'),
    ('mmal.engine.run_state', 'RunState.save', 2, 'after',
     'after the first commit'),
    ('mmal.engine.hooks.active_learning_hook',
     'ActiveLearningHook.after_val_epoch', 1, 'before',
     'between training and its metrics'),
]


def rounds_of(work_dir):
    with open(os.path.join(work_dir, 'state.json')) as f:
        return [r['ids'] for r in json.load(f)['rounds']]


def metrics_of(work_dir):
    with open(os.path.join(work_dir, 'curve.json')) as f:
        return [r['metrics'] for r in json.load(f)['rounds']]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A config and the folder of a run that nobody killed."""
    folder = str(tmp_path_factory.mktemp('whole'))
    config = make_config(folder)
    work_dir = os.path.join(folder, 'work')
    succeed(TRAIN, config, '--work-dir', work_dir)
    return config, work_dir


def test_the_uninterrupted_run_chooses_by_its_weights(whole):
    for number in (0, 1):
        path = os.path.join(whole[1], f'round_{number:02d}', 'scores.npz')
        values = Scores.load(path).values
        assert np.isfinite(values).all() and len(set(values)) == len(values)
    rounds = rounds_of(whole[1])
    ids = [i for r in rounds for i in r]
    assert [len(r) for r in rounds] == [4, 3, 3]
    assert len(set(ids)) == 10


@pytest.mark.parametrize('kill', KILLS, ids=[k[4] for k in KILLS])
def test_killed_and_resumed_ends_the_same(whole, tmp_path, kill):
    config, expected = whole
    module, name, number, when, _ = kill
    work_dir = str(tmp_path / 'work')
    command = (TRAIN, config, '--work-dir', work_dir, '--resume')
    done = run('-c', SABOTAGE, module, name, number, when, *command)
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
    succeed(*command)
    assert rounds_of(work_dir) == rounds_of(expected)
    assert metrics_of(work_dir) == metrics_of(expected)
    left = [
        f for _, _, files in os.walk(work_dir) for f in files
        if f.endswith('.tmp')
    ]
    assert left == []


def test_more_rounds_go_on_from_the_last_one(whole, tmp_path):
    config, expected = whole
    work_dir = str(tmp_path / 'work')
    options = ('--cfg-options', 'active_learning.rounds=1')
    succeed(TRAIN, config, '--work-dir', work_dir, *options)
    assert len(rounds_of(work_dir)) == 1
    succeed(TRAIN, config, '--work-dir', work_dir, '--resume')
    assert rounds_of(work_dir) == rounds_of(expected)


def test_iteration_based_training_resumes_alike(tmp_path):
    """Also the draws of augmentation and of the endless sampler."""
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
            done = run('-c', SABOTAGE, 'mmengine.runner.loops',
                       'IterBasedTrainLoop.run_iter', 4, 'before', *command)
            assert done.returncode == -signal.SIGKILL
        succeed(*command)
        outcomes.append((rounds_of(work_dir), metrics_of(work_dir)))
    assert outcomes[0] == outcomes[1]
