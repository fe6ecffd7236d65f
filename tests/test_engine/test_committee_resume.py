"""A run with an ensemble, killed anywhere, ends like one that was not."""
import os
import signal
from glob import glob

import numpy as np
import pytest
from helpers.runs import SABOTAGE, TRAIN, make_config, run, succeed

from mmal.fileio import read_json
from mmal.scores import Scores

ENV = dict(PYTHONPATH=os.path.dirname(__file__))
STEP = ('mmengine.runner.loops', 'EpochBasedTrainLoop.run_iter')

# module, function, which call, before or after it, members that are trained
# by then, whether the round's training time is still known, what happens;
# a training has two steps
KILLS = [
    (*STEP, 2, 'before', 0, False, 'in the second epoch of the first member'),
    ('torch', 'save', 3, 'after', 0, False, 'while the weights are written'),
    ('mmal.engine.members', '_finish', 1, 'before', 1, True,
     'between the members, before the first one is tidied up'),
    (*STEP, 4, 'before', 1, False, 'in the second epoch of the second member'),
    (*STEP, 5, 'before', 2, True, "in the first epoch of the round's model"),
    ('committee_parts', 'DisagreementScorer.process', 2, 'before', 2, False,
     'in scoring'),
]


def files(work_dir, pattern):
    return sorted(glob(os.path.join(work_dir, 'round_00', 'member_*',
                                    pattern)))


def state(work_dir):
    return read_json(os.path.join(work_dir, 'state.json'))['rounds']


def first_record(work_dir):
    return read_json(os.path.join(work_dir, 'curve.json'))['rounds'][0]


def scores(work_dir):
    path = os.path.join(work_dir, 'round_00', 'scores.npz')
    return Scores.load(path).values


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A config and the folder of a run that nobody killed."""
    folder = str(tmp_path_factory.mktemp('whole'))
    config = make_config(
        folder,
        active_learning=dict(
            rounds=2,
            scorer=dict(type='mmal.DisagreementScorer'),
            committee=dict(type='mmal.EnsembleCommittee', size=3)),
        custom_imports=dict(imports=['mmal', 'committee_parts']))
    work_dir = os.path.join(folder, 'work')
    succeed(TRAIN, config, '--work-dir', work_dir, env=ENV)
    return config, work_dir


@pytest.mark.parametrize('kill', KILLS, ids=[k[-1] for k in KILLS])
def test_killed_and_resumed_ends_the_same(whole, tmp_path, kill):
    config, expected = whole
    module, name, number, when, trained, timed, _ = kill
    work_dir = str(tmp_path / 'work')
    command = (TRAIN, config, '--work-dir', work_dir, '--resume')
    done = run('-c', SABOTAGE, module, name, number, when, *command, env=ENV)
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
    before = {
        f: os.stat(f).st_mtime_ns
        for f in files(work_dir, 'weights.pth')
    }
    assert len(before) == trained
    succeed(*command, env=ENV)
    np.testing.assert_array_equal(scores(work_dir), scores(expected))
    assert state(work_dir) == state(expected)
    found, wanted = first_record(work_dir), first_record(expected)
    assert found['metrics'] == wanted['metrics']
    assert (found['train_seconds'] is not None) == timed
    # trained members were not trained again, and nothing else is left
    assert all(os.stat(f).st_mtime_ns == t for f, t in before.items())
    assert len(files(work_dir, '*.pth')) == 2
    assert not [f for _, _, names in os.walk(work_dir) for f in names
                if f.endswith('.tmp')]
