"""Runs of the learner on the tiny data set, in processes of their own."""
import os
import subprocess
import sys

from helpers.tiny import tiny_config

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
TRAIN = os.path.join(ROOT, 'tools', 'al_train.py')
SELECT = os.path.join(ROOT, 'tools', 'al_select.py')
LAYERS = ('bbox_head.conv_cls', 'bbox_head.conv_reg',
          'bbox_head.conv_centerness')
ISAL = dict(
    type='mmal.InfluenceScorer',
    layers=LAYERS,
    empty='background',  # two epochs teach too little to detect anything
    solver=dict(type='mmal.LiSSA', repeats=2))

# Kills its own process with SIGKILL at the n-th call of a function.
SABOTAGE = '''
import functools, importlib, os, runpy, signal, sys
module, name, number, after = sys.argv[1:5]
import mmal, mmdet.apis
owner = importlib.import_module(module)
*path, last = name.split('.')
for part in path:
    owner = getattr(owner, part)
original, calls = getattr(owner, last), [0]

@functools.wraps(original)
def deadly(*args, **kwargs):
    calls[0] += 1
    if calls[0] == int(number):
        if after == 'after':
            original(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **kwargs)

setattr(owner, last, deadly)
sys.argv = sys.argv[5:]
runpy.run_path(sys.argv[0], run_name='__main__')
'''


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


def run(*command, env=None, timeout=300):
    """Run python with one thread; returns the finished process."""
    env = dict(os.environ, OMP_NUM_THREADS='1', **(env or {}))
    return subprocess.run([sys.executable, *map(str, command)],
                          capture_output=True,
                          text=True,
                          env=env,
                          timeout=timeout,
                          cwd=ROOT)


def succeed(*command, **kwargs):
    """:func:`run`, and the process must succeed."""
    done = run(*command, **kwargs)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done
