"""A run that is asked to stop saves, says so, and ends like another one."""
import os

import pytest
from helpers.forks import Kill, fork_run, fork_two
from helpers.runs import (
    LAUNCHER,
    TRAIN,
    ids_of,
    leftovers,
    make_config,
    metrics_of,
    succeed,
    succeeded,
)

from mmal.fileio import read_json

pytestmark = pytest.mark.run
STEP = ('mmdet.models.detectors', 'FCOS.train_step')
# one image a batch: epochs of 4 iterations, and of 7 in the second round
BLOCK = dict(rounds=2)
LOADER = dict(batch_size=1, num_workers=0)


def weights(work_dir, number=1):
    from mmal.compat.checkpoints import load_checkpoint
    folder = os.path.join(work_dir, f'round_0{number}')
    newest = read_json(os.path.join(work_dir, 'state.json'))
    assert newest['stopped'] == 'rounds'
    assert 'interrupted.pth' not in os.listdir(folder)
    with open(os.path.join(folder, 'last_checkpoint')) as f:
        return load_checkpoint(f.read())['state_dict']


def check_same(work_dir, whole):
    assert ids_of(work_dir) == ids_of(whole)
    assert metrics_of(work_dir) == metrics_of(whole)
    ours, theirs = weights(work_dir), weights(whole)
    assert ours.keys() == theirs.keys()
    assert all(ours[k].equal(theirs[k]) for k in ours)
    assert leftovers(work_dir) == []


def stopped(done, name):
    assert done.returncode == 75, done.stdout[-3000:] + done.stderr[-3000:]
    assert name in done.stderr and '--resume' in done.stderr
    assert 'Traceback' not in done.stderr


@pytest.fixture(scope='module', params=['epochs', 'epochs, workers',
                                        'iterations'])
def config(request, tmp_path_factory):
    """Dropout draws random numbers in each iteration, and so does
    augmentation."""
    folder = str(tmp_path_factory.mktemp('config'))
    changes = dict(train_dataloader=LOADER)
    if 'workers' in request.param:
        changes = dict(train_dataloader=dict(LOADER, num_workers=1))
    if request.param == 'iterations':
        changes = dict(
            train_cfg=dict(_delete_=True, type='IterBasedTrainLoop',
                           max_iters=8, val_interval=8),
            default_hooks=dict(checkpoint=dict(
                type='CheckpointHook', interval=4, by_epoch=False)),
            train_dataloader=dict(
                LOADER, sampler=dict(type='InfiniteSampler')))
    neck = dict(type='mmal.DropoutFPN')
    return make_config(folder, active_learning=BLOCK, model=dict(neck=neck),
                       **changes)


@pytest.fixture(scope='module')
def whole(config, tmp_path_factory):
    """The folder of a run that nobody stopped."""
    work_dir = str(tmp_path_factory.mktemp('whole') / 'work')
    succeed(TRAIN, config, '--work-dir', work_dir)
    return work_dir


@pytest.mark.parametrize('name, call', [('SIGUSR1', 3), ('SIGTERM', 6)])
def test_stopped_in_an_iteration(config, whole, tmp_path, monkeypatch, name,
                                 call):
    monkeypatch.setattr(
        'torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL', .1)
    work_dir = str(tmp_path / 'work')
    command = (TRAIN, config, '--work-dir', work_dir, '--resume')
    done = fork_run(*command, kill=Kill(*STEP, call, signal=name))
    stopped(done, name)
    folder = os.path.join(work_dir, 'round_00')
    assert 'interrupted.pth' in os.listdir(folder)
    again = fork_run(*command, kill=Kill(*STEP, 2, signal=name))
    stopped(again, name)
    succeed(*command)
    check_same(work_dir, whole)
