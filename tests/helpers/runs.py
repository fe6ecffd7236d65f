"""Runs of the learner on the tiny data set, in processes of their own."""
import os
import subprocess
import sys

from helpers import pretended_gpu
from helpers.forks import ROOT, fork_run
from helpers.tiny import tiny_config
from mmal.fileio import read_json

TRAIN = os.path.join(ROOT, 'tools', 'al_train.py')
SELECT = os.path.join(ROOT, 'tools', 'al_select.py')
LAYERS = ('bbox_head.conv_cls', 'bbox_head.conv_reg',
          'bbox_head.conv_centerness')
ISAL = dict(
    type='mmal.InfluenceScorer',
    layers=LAYERS,
    empty='background',  # two epochs teach too little to detect anything
    solver=dict(type='mmal.LiSSA', repeats=2, depth=60))
TORCHRUN = ('-m', 'torch.distributed.run', '--standalone',
            '--nproc_per_node', '2')
LAUNCHER = ('--launcher', 'pytorch')


def make_config(folder, **changes):
    """Write a config of three rounds; returns its path."""
    cfg = tiny_config(os.path.join(folder, 'data'), epochs=2)
    cfg.default_hooks.logger.interval = 1000
    cfg.train_cfg.val_interval = 2
    default = dict(
        data=dict(ann_file='pool.json'),
        initial=dict(size=4),
        rounds=3,
        budget=dict(size=3, unit='images'),
        scorer=ISAL,
        score_dataloader=dict(batch_size=2, num_workers=0))
    cfg.active_learning = {**default, **changes.pop('active_learning', {})}
    cfg.merge_from_dict(changes)
    path = os.path.join(folder, 'tiny.py')
    cfg.dump(path)
    return path


def succeed(*command, **kwargs):
    """:func:`helpers.forks.fork_run`, and the process must succeed."""
    return succeeded(fork_run(*command, **kwargs))


def succeeded(done):
    """A finished process, which must have succeeded."""
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def typed(*command, env=None, timeout=300):
    """Run python as a user types it; returns the finished process."""
    env = {**os.environ, **pretended_gpu.environment(),
           'OMP_NUM_THREADS': '1', **(env or {})}
    return subprocess.run([sys.executable, *map(str, command)],
                          capture_output=True,
                          text=True,
                          env=env,
                          timeout=timeout,
                          cwd=ROOT)


def killed(kill, *command, **kwargs):
    """Run a file until it is killed, and it must be."""
    done = fork_run(*command, kill=kill, **kwargs)
    assert done.returncode == -9, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def leftovers(folder):
    """Names of files in a folder and below that were never finished."""
    return [f for _, _, files in os.walk(folder) for f in files
            if f.endswith('.tmp')]


def rounds_of(work_dir):
    """The rounds in ``state.json`` of a run."""
    return read_json(os.path.join(str(work_dir), 'state.json'))['rounds']


def ids_of(work_dir):
    """The images that each round of a run labelled."""
    return [r['ids'] for r in rounds_of(work_dir)]


def metrics_of(work_dir):
    """The metrics of each round of a run."""
    curve = read_json(os.path.join(str(work_dir), 'curve.json'))
    return [r['metrics'] for r in curve['rounds']]
