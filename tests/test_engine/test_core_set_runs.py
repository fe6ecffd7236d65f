"""Whole runs that select by embeddings."""
import os

import numpy as np
import pytest
from helpers.forks import Kill, fork_run, fork_two
from helpers.runs import (
    LAUNCHER,
    SELECT,
    TRAIN,
    ids_of,
    killed,
    leftovers,
    make_config,
    succeed,
    succeeded,
)

from mmal.fileio import read_json
from mmal.scores import Scores
from mmal.selection import CoreSet

pytestmark = pytest.mark.run
RANDOM = dict(type='mmal.RandomScorer')


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp('core_set'))
    config = make_config(
        folder,
        active_learning=dict(
            scorer=RANDOM, selector=dict(type='mmal.CoreSet')))
    work_dir = os.path.join(folder, 'work')
    succeed(TRAIN, config, '--work-dir', work_dir)
    return config, work_dir


def test_the_farthest_images_are_chosen(whole):
    _, work_dir = whole
    folder = os.path.join(work_dir, 'round_01')
    scores = Scores.load(os.path.join(folder, 'scores.npz'))
    labelled = np.load(os.path.join(folder, 'embeddings_labelled.npy'))
    assert scores.embeddings.shape == (5, 32) and labelled.shape == (7, 32)
    chosen = CoreSet().select(scores, 3, scores.embeddings, labelled)
    selected = read_json(os.path.join(folder, 'selected.json'))
    assert selected['ids'] == chosen
    assert len({i for ids in ids_of(work_dir) for i in ids}) == 10


def test_embeddings_of_rounds_before_the_last_query_are_gone(whole):
    _, work_dir = whole
    assert [name for number in range(3) for name in sorted(os.listdir(
        os.path.join(work_dir, f'round_{number:02d}'))) if 'embed' in name
    ] == ['embeddings.npy', 'embeddings_labelled.npy']
    before = Scores.load(os.path.join(work_dir, 'round_00', 'scores.npz'))
    assert len(before) == 8 and before.embeddings is None
    assert not os.path.exists(os.path.join(work_dir, 'embeddings'))


@pytest.mark.parametrize('module, name', [
    ('mmal.scores', 'Scores.save'),
    ('mmal.engine.query_result', 'QueryResult.save'),
], ids=['without scores', 'with all files'])
def test_killed_and_resumed_chooses_the_same(whole, tmp_path, module, name):
    config, expected = whole
    work_dir = str(tmp_path / 'work')
    command = (TRAIN, config, '--work-dir', work_dir, '--resume',
               '--cfg-options', 'active_learning.rounds=2')
    killed(Kill(module, name), *command)
    folder = os.path.join(work_dir, 'round_00')
    names = ('scores.npz', 'embeddings.npy', 'embeddings_labelled.npy')
    kept = {n: os.stat(os.path.join(folder, n)).st_mtime_ns for n in names
            if os.path.exists(os.path.join(folder, n))}
    assert (len(kept) == 3) == ('scores.npz' in kept) == (
        name == 'QueryResult.save')
    succeed(*command)
    if 'scores.npz' in kept:  # what was finished is not made again
        for n, time in kept.items():
            assert os.stat(os.path.join(folder, n)).st_mtime_ns == time
    assert ids_of(work_dir) == ids_of(expected)[:2]
    assert leftovers(folder) == []


def test_one_query_by_one_and_by_two_processes(whole, tmp_path):
    config, work_dir = whole
    last = os.path.join(work_dir, 'round_01')
    checkpoint = os.path.join(last, 'epoch_2.pth')
    command = (SELECT, config, checkpoint, '--labelled',
               os.path.join(last, 'labelled.json'), '--out-dir')
    succeed(*command, tmp_path / 'one')
    for done in fork_two(*command, tmp_path / 'two', *LAUNCHER):
        succeeded(done)
    expected = read_json(os.path.join(last, 'selected.json'))['ids']
    for out in (tmp_path / 'one', tmp_path / 'two'):
        assert read_json(str(out / 'selected.json'))['ids'] == expected
        np.testing.assert_allclose(
            np.load(str(out / 'embeddings.npy')),
            np.load(os.path.join(last, 'embeddings.npy')),
            rtol=1e-4, atol=1e-6)
    done = fork_run(SELECT, config, checkpoint, '--out-dir', tmp_path / 'no')
    assert done.returncode == 1 and 'with --labelled' in done.stderr
