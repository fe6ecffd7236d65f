"""A run that is asked to stop saves, says so, and ends like another one."""
import multiprocessing
import os
import signal
import time

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

from mmal.compat.checkpoints import load_checkpoint
from mmal.engine.stop_request import request

pytestmark = pytest.mark.run
STEP = ('mmdet.models.detectors', 'FCOS.train_step')
# one image a batch: epochs of 4 iterations, and of 7 in the second round
BLOCK = dict(rounds=2)
LOADER = dict(batch_size=1, num_workers=0)


def weights(work_dir, number):
    """Those at the end of a round."""
    folder = os.path.join(work_dir, f'round_0{number}')
    assert 'interrupted.pth' not in os.listdir(folder)
    with open(os.path.join(folder, 'last_checkpoint')) as f:
        return load_checkpoint(f.read())['state_dict']


def check_same(work_dir, whole):
    assert ids_of(work_dir) == ids_of(whole)
    assert metrics_of(work_dir) == metrics_of(whole)
    for number in (0, 1):
        ours, theirs = weights(work_dir, number), weights(whole, number)
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


# where nothing is to be saved the process ends at once
MOMENTS = {
    'in validation': Kill('mmdet.models.detectors', 'FCOS.val_step', 2,
                          signal='SIGTERM'),
    'in scoring': Kill('mmal.scoring', 'InfluenceScorer.process', 4,
                       signal='SIGUSR1'),
    'in the last iteration of an epoch': Kill(
        'mmengine.runner.loops', 'EpochBasedTrainLoop.run_iter', 1, 'after',
        signal='SIGUSR1'),
    'while an epoch ends': Kill(
        'mmal.engine.hooks', 'TrainingHook.after_train_epoch', 2,
        signal='SIGUSR1'),
    'before the first training': Kill(
        'mmal.engine.learner', 'ActiveLearner.run', signal='SIGTERM'),
}


@pytest.fixture(scope='module')
def one_batch(tmp_path_factory):
    """The config, and a run, of epochs of one batch in the first round."""
    folder = tmp_path_factory.mktemp('one_batch')
    config = make_config(str(folder), active_learning=BLOCK)
    work_dir = str(folder / 'whole')
    succeed(TRAIN, config, '--work-dir', work_dir)
    return config, work_dir


@pytest.mark.parametrize('moment', MOMENTS)
def test_stopped_at_another_moment(one_batch, tmp_path, moment):
    config, whole = one_batch
    work_dir = str(tmp_path / 'work')
    command = (TRAIN, config, '--work-dir', work_dir, '--resume')
    stopped(fork_run(*command, kill=MOMENTS[moment]), MOMENTS[moment].signal)
    succeed(*command)
    check_same(work_dir, whole)


def test_two_processes_stop_together(tmp_path):
    config = make_config(str(tmp_path), active_learning=BLOCK,
                         train_dataloader=LOADER)
    for name in ('whole', 'stopped'):
        work_dir = str(tmp_path / name)
        command = (TRAIN, config, '--work-dir', work_dir, '--resume',
                   *LAUNCHER)
        if name == 'stopped':
            # epochs of two iterations: they agree when the first one ends
            kill = Kill('mmengine.runner.loops',
                        'EpochBasedTrainLoop.run_iter', 2, signal='SIGUSR1')
            for done in fork_two(*command, kill=kill):
                stopped(done, 'SIGUSR1')
            assert 'interrupted.pth' in os.listdir(
                os.path.join(work_dir, 'round_00'))
        for done in fork_two(*command):
            succeeded(done)
    check_same(*(str(tmp_path / name) for name in ('stopped', 'whole')))


def test_a_worker_goes_on_at_signals_and_ends_when_its_pool_wants_it_to():
    """mmdet's VOC evaluation leaves a pool behind that ends its workers and
    waits for them, whatever they wait for."""
    context = multiprocessing.get_context('fork')
    with request.on_signals():
        ready, lock = context.Event(), context.Lock()
        lock.acquire()  # for good, as a pool's that is being ended

        def work():
            ready.set()
            with lock:
                time.sleep(60)

        worker = context.Process(target=work, daemon=True)
        worker.start()
        assert ready.wait(60)
        for name in ('SIGTERM', 'SIGUSR1'):  # as a batch system sends to all
            os.kill(worker.pid, getattr(signal, name))
        worker.join(0.5)
        assert worker.exitcode is None
    worker.terminate()  # a pool may outlive the run
    worker.join(60)
    assert worker.exitcode == -signal.SIGKILL
    assert request.signal_name is None
