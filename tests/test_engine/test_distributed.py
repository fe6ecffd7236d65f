"""Two processes choose what one chooses."""
import json
import os

import numpy as np
import pytest
from helpers.runs import SELECT, TRAIN, make_config, run, succeed

from mmal.scores import Scores

TORCHRUN = ('-m', 'torch.distributed.run', '--standalone',
            '--nproc_per_node', '2')


def content(path):
    with open(path) as f:
        return json.load(f)


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
    chosen = []
    for name, launch in (('one', ()), ('two', TORCHRUN)):
        out = str(tmp_path / name)
        launcher = ('--launcher', 'pytorch') if launch else ()
        succeed(*launch, SELECT, config, os.path.join(last, 'epoch_2.pth'),
                '--labelled', os.path.join(last, 'labelled.json'), '--out-dir',
                out, *launcher)
        scores = Scores.load(os.path.join(out, 'scores.npz'))
        chosen.append((scores, content(os.path.join(out, 'selected.json'))))
    (a, selected_a), (b, selected_b) = chosen
    # 5 images, so that a sampler that pads would score one of them twice
    assert a.ids == b.ids and len(set(b.ids)) == len(b.ids) == 5
    assert np.isfinite(a.values).all()
    np.testing.assert_allclose(a.values, b.values, rtol=1e-6)
    assert selected_a['ids'] == selected_b['ids']
    assert selected_a['boxes'] == selected_b['boxes']


def test_a_run_of_two_processes(one, tmp_path):
    """Trained, scored, selected and reported by both together."""
    config, _ = one
    work_dir = str(tmp_path / 'work')
    done = succeed(*TORCHRUN, TRAIN, config, '--work-dir', work_dir,
                   '--launcher', 'pytorch')
    state = content(os.path.join(work_dir, 'state.json'))
    assert [len(r['ids']) for r in state['rounds']] == [4, 3]
    assert state['stopped'] == 'rounds'
    assert os.path.exists(os.path.join(work_dir, 'report.html'))
    assert done.stdout.count('Round 0: selected 3 images') <= 1


def test_an_error_ends_both_processes_with_one_message(one, tmp_path):
    config, _ = one
    done = run(*TORCHRUN, TRAIN, config, '--work-dir', str(tmp_path / 'w'),
               '--launcher', 'pytorch', '--cfg-options',
               'active_learning.data.ann_file=nowhere.json')
    assert done.returncode != 0
    assert done.stderr.count('there is no COCO file') == 1
