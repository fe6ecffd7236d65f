"""Two processes choose what one chooses."""
import os

import numpy as np
import pytest
from helpers.forks import fork_two, short_of_gpus
from helpers.runs import (
    LAUNCHER,
    SELECT,
    TORCHRUN,
    TRAIN,
    make_config,
    succeed,
    succeeded,
    typed,
)

from mmal.fileio import read_json
from mmal.scores import Scores

pytestmark = pytest.mark.run


@pytest.fixture(scope='module')
def one(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp('one'))
    config = make_config(folder, active_learning=dict(rounds=2))
    work_dir = os.path.join(folder, 'work')
    succeed(TRAIN, config, '--work-dir', work_dir)
    return config, work_dir


def test_scores_and_selection_equal_those_of_one_process(one, tmp_path):
    config, work_dir = one
    last = os.path.join(work_dir, 'round_01')
    command = (SELECT, config, os.path.join(last, 'epoch_2.pth'),
               '--labelled', os.path.join(last, 'labelled.json'), '--out-dir')
    succeed(*command, tmp_path / 'one')
    for done in fork_two(*command, tmp_path / 'two', *LAUNCHER):
        succeeded(done)
    (a, selected_a), (b, selected_b) = (
        (Scores.load(str(tmp_path / name / 'scores.npz')),
         read_json(str(tmp_path / name / 'selected.json')))
        for name in ('one', 'two'))
    # 5 images, so that a sampler that pads would score one of them twice
    assert a.ids == b.ids and len(set(b.ids)) == len(b.ids) == 5
    assert np.isfinite(a.values).all()
    np.testing.assert_allclose(a.values, b.values, rtol=1e-6)
    assert selected_a['ids'] == selected_b['ids']
    assert selected_a['boxes'] == selected_b['boxes']
    predicted_a, predicted_b = (
        read_json(str(tmp_path / name / 'predictions.json'))
        for name in ('one', 'two'))
    assert predicted_a == predicted_b


def test_a_run_of_two_processes(one, tmp_path):
    """Trained, scored, selected and reported by both together, started by
    torchrun."""
    config, _ = one
    work_dir = str(tmp_path / 'work')
    env = dict(CUDA_VISIBLE_DEVICES='-1') if short_of_gpus(2) else {}
    done = succeeded(typed(*TORCHRUN, TRAIN, config, '--work-dir', work_dir,
                           *LAUNCHER, env=env))
    state = read_json(os.path.join(work_dir, 'state.json'))
    assert [len(r['ids']) for r in state['rounds']] == [4, 3]
    assert state['stopped'] == 'rounds'
    assert os.path.exists(os.path.join(work_dir, 'report.html'))
    assert done.stdout.count('Round 0: selected 3 images') <= 1


def test_an_error_ends_both_processes_with_one_message(one, tmp_path):
    config, _ = one
    both = fork_two(TRAIN, config, '--work-dir', tmp_path / 'w', *LAUNCHER,
                    '--cfg-options',
                    'active_learning.data.ann_file=nowhere.json')
    assert [done.returncode for done in both] == [1, 1]
    assert ''.join(done.stderr for done in both).count(
        'there is no COCO file') == 1
