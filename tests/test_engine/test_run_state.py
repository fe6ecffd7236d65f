"""Taking over a work folder with a changed config."""
import os

import pytest

from mmal.engine.fingerprint import digest
from mmal.engine.lock import lock_run_dir
from mmal.engine.run_state import RunState
from mmal.fileio import read_json, write_text
from mmal.pool import Pool
from mmal.pool.layout import WorkDir

OLD = {
    'active_learning.scorer.type': 'mmal.EntropyScorer',
    'active_learning.selector.type': 'mmal.TopN'
}


@pytest.fixture
def work(tmp_path):
    """A run that was killed after its second round had scored."""
    work = WorkDir(str(tmp_path / 'work'))
    lock_run_dir(work, OLD, False, 'text')
    state = RunState(work, Pool([1, 2, 3, 4]), digest(OLD), 0)
    for number in (0, 1):
        state.commit([number + 1], [], '')
        write_text(work.round(number).scores, 'scores')
    state.save()
    return work


@pytest.mark.parametrize('change, kept', [
    ({}, True),
    ({'active_learning.selector.type': 'mmal.CoreSet'}, True),
    ({'active_learning.selector.weighted': True,
      'active_learning.scorer.aggregation': 'max'}, False),
    ({'active_learning.scorer.type': 'mmal.RandomScorer'}, False),
    ({'model.test_cfg.score_thr': 0.1}, False),
    ({'active_learning.budget.size': 7,
      'active_learning.budget.repeats': 'counted'}, True),
    # scores per cost know what a box and an image cost
    ({'active_learning.budget.unit': 'boxes'}, False),
    ({'active_learning.budget.per_image': 2.0}, False),
])
def test_scores_of_other_settings_are_not_used(work, change, kept):
    new = {**OLD, **change}
    assert lock_run_dir(work, new, True, 'text', accept_changes=True)
    assert os.path.exists(work.round(1).scores) == kept
    assert os.path.exists(work.round(0).scores)  # of a round that is done
    assert read_json(work.identity) == new


def test_scores_are_not_used_when_nobody_knows_what_changed(work):
    os.unlink(work.identity)
    new = {**OLD, 'active_learning.selector.type': 'mmal.CoreSet'}
    lock_run_dir(work, new, True, 'text', accept_changes=True)
    assert not os.path.exists(work.round(1).scores)
