"""Whole runs that select by embeddings."""
import json
import os
import signal

import numpy as np
import pytest
from helpers.runs import SABOTAGE, SELECT, TRAIN, make_config, run, succeed

from mmal.scores import Scores
from mmal.selection import CoreSet

RANDOM = dict(type='mmal.RandomScorer')
TORCHRUN = ('-m', 'torch.distributed.run', '--standalone',
            '--nproc_per_node', '2')


def read(*path):
    with open(os.path.join(*path)) as f:
        return json.load(f)


def rounds_of(work_dir):
    return [r['ids'] for r in read(work_dir, 'state.json')['rounds']]


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
    for number in (0, 1):
        folder = os.path.join(work_dir, f'round_{number:02d}')
        scores = Scores.load(os.path.join(folder, 'scores.npz'))
        labelled = np.load(os.path.join(folder, 'embeddings_labelled.npy'))
        assert scores.embeddings.shape == (8 - 3 * number, 32)
        assert labelled.shape == (4 + 3 * number, 32)
        chosen = CoreSet().select(scores, 3, scores.embeddings, labelled)
        assert read(folder, 'selected.json')['ids'] == chosen
    assert len({i for ids in rounds_of(work_dir) for i in ids}) == 10


@pytest.mark.parametrize('module, name, when', [
    ('mmal.engine.query', 'Scores.save', 'before'),
    ('mmal.engine.query', 'Selection.save', 'before'),
], ids=['without scores', 'with all files'])
def test_killed_and_resumed_chooses_the_same(whole, tmp_path, module, name,
                                             when):
    config, expected = whole
    work_dir = str(tmp_path / 'work')
    options = ('--cfg-options', 'active_learning.rounds=2')
    command = (TRAIN, config, '--work-dir', work_dir, '--resume', *options)
    done = run('-c', SABOTAGE, module, name, 1, when, *command)
    assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
    folder = os.path.join(work_dir, 'round_00')
    names = ('scores.npz', 'embeddings.npy', 'embeddings_labelled.npy')
    kept = {n: os.stat(os.path.join(folder, n)).st_mtime_ns for n in names
            if os.path.exists(os.path.join(folder, n))}
    succeed(*command)
    if 'scores.npz' in kept:  # what was finished is not made again
        for n, time in kept.items():
            assert os.stat(os.path.join(folder, n)).st_mtime_ns == time
    assert rounds_of(work_dir) == rounds_of(expected)[:2]
    assert [f for f in os.listdir(folder) if f.endswith('.tmp')] == []


def test_one_query_by_one_and_by_two_processes(whole, tmp_path):
    config, work_dir = whole
    last = os.path.join(work_dir, 'round_01')
    checkpoint = os.path.join(last, 'epoch_2.pth')
    chosen = []
    for name, launch in (('one', ()), ('two', TORCHRUN)):
        out = str(tmp_path / name)
        launcher = ('--launcher', 'pytorch') if launch else ()
        succeed(*launch, SELECT, config, checkpoint, '--labelled',
                os.path.join(last, 'labelled.json'), '--out-dir', out,
                *launcher)
        chosen.append(read(out, 'selected.json')['ids'])
        a, b = (np.load(os.path.join(f, 'embeddings.npy'))
                for f in (out, last))
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert chosen[0] == chosen[1] == read(last, 'selected.json')['ids']
    done = run(SELECT, config, checkpoint, '--out-dir', str(tmp_path / 'no'))
    assert done.returncode == 1 and 'with --labelled' in done.stderr
