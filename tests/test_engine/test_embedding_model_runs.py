"""Runs that select by embeddings of a second model."""
import os

import numpy as np
import pytest
from helpers.mdn_runs import learn
from helpers.runs import make_config

from mmal.fileio import read_json
from mmal.scores import Scores
from mmal.selection import CoreSet

RESNET = dict(
    type='mmdet.ResNet', depth=18, num_stages=2, base_channels=4,
    stem_channels=4, strides=(1, 2), dilations=(1, 1), out_indices=(1, ))
EMBEDDER = dict(type='mmal.EmbeddingModel', backbone=RESNET)
CORE_SET = dict(type='mmal.CoreSet')


def config(folder, **block):
    return make_config(
        str(folder),
        active_learning=dict(
            rounds=2, scorer=dict(type='mmal.RandomScorer'),
            embedder=EMBEDDER, **block))


@pytest.mark.run
def test_a_run_chooses_by_the_second_model(tmp_path):
    work = learn(config(tmp_path, selector=CORE_SET), str(tmp_path / 'work'))
    folder = os.path.join(work, 'round_00')
    scores = Scores.load(os.path.join(folder, 'scores.npz'))
    labelled = np.load(os.path.join(folder, 'embeddings_labelled.npy'))
    assert scores.embeddings.shape == (8, 8) and labelled.shape == (4, 8)
    chosen = CoreSet().select(scores, 3, scores.embeddings, labelled)
    assert read_json(os.path.join(folder, 'selected.json'))['ids'] == chosen


@pytest.mark.parametrize('block, message', [
    (dict(), 'a TopN needs no embeddings'),
    (dict(selector=CORE_SET,
          embedder=dict(EMBEDDER, backbone=dict(RESNET, depth=7))),
     'active_learning.embedder.backbone cannot be built'),
    (dict(selector=CORE_SET, embedder=dict(type='mmal.TopN')),
     'which is no embedder')])
def test_mistakes_are_found_before_training(tmp_path, block, message):
    path = config(tmp_path, **block) if 'embedder' not in block else \
        make_config(str(tmp_path), active_learning=block)
    with pytest.raises(ValueError, match=message):
        learn(path, str(tmp_path / 'work'))
    assert not (tmp_path / 'work' / 'round_00' / 'epoch_1.pth').exists()
