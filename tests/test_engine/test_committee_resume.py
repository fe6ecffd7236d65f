"""A run with an ensemble, killed anywhere, ends like one that was not."""
import os
from glob import glob

import numpy as np
import pytest
from helpers.forks import Kill
from helpers.runs import (
    TRAIN,
    killed,
    leftovers,
    make_config,
    rounds_of,
    succeed,
)

from mmal.fileio import read_json
from mmal.scores import Scores

pytestmark = pytest.mark.run
STEP = ('mmengine.runner.loops', 'EpochBasedTrainLoop.run_iter')

# what happens: when, members that are trained by then, whether the round's
# training time is still known; a training has two steps
KILLS = {
    'in the second epoch of the first member': (Kill(*STEP, 2), 0, False),
    'while the weights are written': (
        Kill('os', 'replace', path='weights.pth'), 0, False),
    'between the members, before the first one is tidied up': (
        Kill('os', 'unlink', path='epoch_2.pth'), 1, True),
    'in the second epoch of the second member': (Kill(*STEP, 4), 1, False),
    "in the first epoch of the round's model": (Kill(*STEP, 5), 2, True),
    'in scoring': (
        # the first call is that of the rehearsal
        Kill('helpers.committee_parts', 'DisagreementScorer.process', 3),
        2, False),
}


def files(work_dir, pattern):
    return sorted(glob(os.path.join(work_dir, 'round_00', 'member_*',
                                    pattern)))


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
        custom_imports=dict(imports=['mmal', 'helpers.committee_parts']))
    work_dir = os.path.join(folder, 'work')
    succeed(TRAIN, config, '--work-dir', work_dir)
    return config, work_dir


@pytest.mark.parametrize('kill', KILLS)
def test_killed_and_resumed_ends_the_same(whole, tmp_path, kill):
    config, expected = whole
    moment, trained, timed = KILLS[kill]
    work_dir = str(tmp_path / 'work')
    command = (TRAIN, config, '--work-dir', work_dir, '--resume')
    killed(moment, *command)
    before = {
        f: os.stat(f).st_mtime_ns
        for f in files(work_dir, 'weights.pth')
    }
    assert len(before) == trained
    succeed(*command)
    np.testing.assert_array_equal(scores(work_dir), scores(expected))
    assert rounds_of(work_dir) == rounds_of(expected)
    found, wanted = first_record(work_dir), first_record(expected)
    assert found['metrics'] == wanted['metrics']
    assert (found['train_seconds'] is not None) == timed
    # trained members were not trained again, and nothing else is left
    assert all(os.stat(f).st_mtime_ns == t for f, t in before.items())
    assert len(files(work_dir, '*.pth')) == 2
    assert leftovers(work_dir) == []
