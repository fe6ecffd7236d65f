"""A run of PAL, and its query by one process and by two."""
import os

import numpy as np
import pytest
from helpers.forks import fork_two
from helpers.runs import (
    LAUNCHER,
    SELECT,
    TRAIN,
    ids_of,
    make_config,
    succeed,
    succeeded,
)

from mmal.fileio import read_json
from mmal.scores import Scores
from mmal.selection import ClassBudgets

pytestmark = pytest.mark.run

BACKBONE = dict(
    type='mmdet.ResNet', depth=18, num_stages=2, base_channels=4,
    stem_channels=4, strides=(1, 2), dilations=(1, 1), out_indices=(1, ))


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """The config and the work folder of a run of two rounds."""
    folder = str(tmp_path_factory.mktemp('pal'))
    config = make_config(folder, active_learning=dict(
        rounds=2,
        # two epochs teach too little to be sure of anything
        scorer=dict(type='mmal.LogisticUncertaintyScorer', score_thr=0.),
        selector=dict(type='mmal.ClassBudgets'),
        embedder=dict(type='mmal.EmbeddingModel', backbone=BACKBONE)),
        model=dict(test_cfg=dict(score_thr=0.)))
    work = os.path.join(folder, 'work')
    succeed(TRAIN, config, '--work-dir', work)
    return config, work


def test_a_run_chooses_by_classes_and_embeddings(run):
    folder = os.path.join(run[1], 'round_00')
    scores = Scores.load(os.path.join(folder, 'scores.npz'))
    assert scores.columns['class_weights'].shape == (8, 3)
    assert (scores.columns['detections'] > 0).all()
    chosen = ClassBudgets().select(scores, 3, scores.embeddings)
    assert read_json(os.path.join(folder, 'selected.json'))['ids'] == chosen
    assert [len(ids) for ids in ids_of(run[1])] == [4, 3]


def test_two_processes_choose_what_one_chooses(run, tmp_path):
    config, work = run
    last = os.path.join(work, 'round_01')
    command = (SELECT, config, os.path.join(last, 'epoch_2.pth'),
               '--labelled', os.path.join(last, 'labelled.json'), '--out-dir')
    succeed(*command, tmp_path / 'one')
    for done in fork_two(*command, tmp_path / 'two', *LAUNCHER):
        succeeded(done)
    one, two = (Scores.load(str(tmp_path / name / 'scores.npz'))
                for name in ('one', 'two'))
    assert one.ids == two.ids and len(one) == 5
    np.testing.assert_allclose(one.values, two.values, rtol=1e-6)
    assert one.columns.keys() == two.columns.keys()
    for name, column in one.columns.items():
        np.testing.assert_allclose(column, two.columns[name], rtol=1e-6)
    a, b = (read_json(str(tmp_path / name / 'selected.json'))['ids']
            for name in ('one', 'two'))
    assert a == b
