"""Whole runs that select by gradients of images."""
import os

import numpy as np
import pytest
from helpers.forks import Kill
from helpers.influence_by_hand import scoring_data
from helpers.runs import (
    SELECT,
    TRAIN,
    ids_of,
    killed,
    leftovers,
    make_config,
    succeed,
)
from helpers.tiny import tiny_fcos

from mmal.engine.query import Query
from mmal.engine.settings import Settings
from mmal.fileio import read_json
from mmal.scores import Scores
from mmal.selection import BatchInfluence, CoreSet

SCORER = dict(type='mmal.GradientEmbeddingScorer', reference='labelled',
              solver=dict(type='mmal.DefaultSolver'), inputs=8, outputs=2,
              empty='background')


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp('gradients'))
    config = make_config(folder, active_learning=dict(
        scorer=SCORER, selector=dict(type='mmal.CoreSet'), rounds=2))
    work_dir = os.path.join(folder, 'work')
    succeed(TRAIN, config, '--work-dir', work_dir)
    return config, work_dir


@pytest.mark.run
def test_labelled_images_have_gradients_too(whole):
    _, work_dir = whole
    folder = os.path.join(work_dir, 'round_00')
    scores = Scores.load(os.path.join(folder, 'scores.npz'))
    labelled = np.load(os.path.join(folder, 'embeddings_labelled.npy'))
    number = len(ids_of(work_dir)[0])
    assert labelled.shape == (number, 8 * (2 + 2 + 1))
    assert scores.embeddings.shape == (len(scores), 8 * (2 + 2 + 1))
    ids = read_json(os.path.join(folder, 'selected.json'))['ids']
    assert ids == CoreSet().select(scores, len(ids), scores.embeddings,
                                   labelled)


@pytest.mark.run
def test_lost_embeddings_are_made_again_by_the_scorer(whole, tmp_path):
    """And not by the backbone, which gives others."""
    config, expected = whole
    work_dir = str(tmp_path / 'work')
    command = (TRAIN, config, '--work-dir', work_dir, '--resume')
    killed(Kill('mmal.engine.query_result', 'QueryResult.save'), *command)
    folder = os.path.join(work_dir, 'round_00')
    os.unlink(os.path.join(folder, 'embeddings.npy'))
    done = succeed(*command)
    assert 'embeddings that belong to' in done.stdout + done.stderr
    assert ids_of(work_dir) == ids_of(expected)
    assert leftovers(folder) == []


@pytest.mark.run
def test_one_query_for_a_batch(whole, tmp_path):
    config, work_dir = whole
    folder = os.path.join(work_dir, 'round_00')
    out = str(tmp_path / 'out')
    succeed(SELECT, config, os.path.join(folder, 'epoch_2.pth'),
            '--labelled', os.path.join(folder, 'labelled.json'),
            '--out-dir', out, '--cfg-options',
            'active_learning.selector.type=mmal.BatchInfluence')
    scores = Scores.load(os.path.join(out, 'scores.npz'))
    ids = read_json(os.path.join(out, 'selected.json'))['ids']
    assert ids == BatchInfluence().select(scores, len(ids),
                                          scores.embeddings)


@pytest.mark.parametrize('scorer, selector', [
    (dict(type='mmal.InfluenceScorer'), 'GradientMatching'),
    (dict(type='mmal.GradientEmbeddingScorer'), 'BatchInfluence'),
    (dict(type='mmal.PerCostScorer', scorer=SCORER), 'BatchInfluence')])
def test_scorers_without_gradients_to_follow_are_refused(
        tmp_path, mmdet_scope, scorer, selector):
    splits = scoring_data(tmp_path).splits
    settings = Settings(data=dict(ann_file='pool.json'), scorer=scorer,
                        selector=dict(type=f'mmal.{selector}'),
                        budget=dict(size=1))
    query = Query(settings, coco=None, img_prefix='')
    with pytest.raises(ValueError, match=f'a {selector}, which reads '
                       "gradients.*GradientEmbeddingScorer', reference='val'"):
        query.check(tiny_fcos(), splits)
