"""Runs that select by embeddings of a second model."""
import os

import numpy as np
import pytest
from helpers.forks import Kill, fork_two
from helpers.mdn_runs import learn
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
from mmal.scoring.embeddings import EmbeddingModel
from mmal.scoring.embeddings.store import EmbeddingShard
from mmal.selection import CoreSet

RESNET = dict(
    type='mmdet.ResNet', depth=18, num_stages=2, base_channels=4,
    stem_channels=4, strides=(1, 2), dilations=(1, 1), out_indices=(1, ))
EMBEDDER = dict(type='mmal.EmbeddingModel', backbone=RESNET)
CORE_SET = dict(type='mmal.CoreSet')


def config(folder, **block):
    default = dict(rounds=2, scorer=dict(type='mmal.RandomScorer'),
                   embedder=EMBEDDER)
    return make_config(str(folder), active_learning={**default, **block})


@pytest.mark.run
def test_a_run_chooses_by_the_second_model(tmp_path):
    work = learn(config(tmp_path, selector=CORE_SET), str(tmp_path / 'work'))
    folder = os.path.join(work, 'round_00')
    scores = Scores.load(os.path.join(folder, 'scores.npz'))
    labelled = np.load(os.path.join(folder, 'embeddings_labelled.npy'))
    assert scores.embeddings.shape == (8, 8) and labelled.shape == (4, 8)
    chosen = CoreSet().select(scores, 3, scores.embeddings, labelled)
    assert read_json(os.path.join(folder, 'selected.json'))['ids'] == chosen


@pytest.fixture
def embedded(monkeypatch):
    """The images that reach the second model."""
    ids, append = [], EmbeddingShard.append

    def counted(self, own, rows):
        ids.extend(own)
        append(self, own, rows)

    monkeypatch.setattr(EmbeddingShard, 'append', counted)
    return ids


@pytest.mark.run
@pytest.mark.parametrize('scorer', ['RandomScorer', 'EntropyScorer'])
def test_the_second_model_sees_each_image_once(tmp_path, monkeypatch,
                                               embedded, scorer):
    path = config(tmp_path, selector=CORE_SET,
                  scorer=dict(type=f'mmal.{scorer}'), rounds=3)
    work = learn(path, str(tmp_path / 'work'))
    assert len(embedded) == len(set(embedded)) == 12
    assert os.listdir(os.path.join(work, 'embeddings'))
    with monkeypatch.context() as patch:
        patch.setattr(EmbeddingModel, 'fingerprint', lambda *args: None)
        embedded.clear()
        plain = learn(path, str(tmp_path / 'plain'))
    assert len(embedded) == 12 + 12
    assert ids_of(work) == ids_of(plain) and len(ids_of(work)) == 3
    for name in ('embeddings.npy', 'embeddings_labelled.npy'):
        np.testing.assert_allclose(*(
            np.load(os.path.join(folder, 'round_01', name))
            for folder in (work, plain)), rtol=1e-5, atol=1e-6)


@pytest.mark.run
def test_two_processes_fill_and_use_one_store(tmp_path):
    path = config(tmp_path, selector=CORE_SET, rounds=3)
    work = learn(path, str(tmp_path / 'one'))
    two = str(tmp_path / 'two')
    for done in fork_two(TRAIN, path, '--work-dir', two, '--cfg-options',
                         'active_learning.score_dataloader.num_workers=1',
                         *LAUNCHER):
        succeeded(done)
    assert ids_of(two) == ids_of(work)  # the detector has no say
    for run in (work, two):
        store = os.path.join(run, 'embeddings')
        (key, ) = os.listdir(store)
        tables = [np.load(os.path.join(store, key, name))
                  for name in os.listdir(os.path.join(store, key))]
        assert sorted(map(len, tables)) == [4, 8]
        assert len(np.load(os.path.join(run, 'verified.npy'))) == 12


@pytest.mark.run
def test_runs_share_a_folder(tmp_path, embedded):
    shared = str(tmp_path / 'shared')
    half = dict(CORE_SET, dtype='float16')
    path = config(tmp_path, selector=half,
                  embedder=dict(EMBEDDER, store=shared))
    runs = [learn(path, str(tmp_path / name)) for name in ('one', 'two')]
    assert len(embedded) == 12 and ids_of(runs[0]) == ids_of(runs[1])
    assert not any(os.path.exists(os.path.join(run, 'embeddings'))
                   for run in runs)
    # and a single query finds them too
    last = os.path.join(runs[0], 'round_00')
    succeed(SELECT, path, os.path.join(last, 'epoch_2.pth'), '--labelled',
            os.path.join(last, 'labelled.json'), '--out-dir', tmp_path / 'out')
    assert read_json(str(tmp_path / 'out' / 'selected.json'))['ids'] == \
        ids_of(runs[0])[1]
    (key, ) = os.listdir(shared)
    assert key.endswith('_float16')
    assert sum(len(np.load(os.path.join(shared, key, name)))
               for name in os.listdir(os.path.join(shared, key))) == 12
    embedded.clear()
    other = dict(EMBEDDER, backbone=dict(RESNET, base_channels=8),
                 store=shared)
    path = config(tmp_path, selector=half, embedder=other)
    learn(path, str(tmp_path / 'three'))
    assert len(embedded) == 12


@pytest.mark.run
@pytest.mark.parametrize('when', ['before', 'after'])
@pytest.mark.parametrize('call', [1, 2])
def test_killed_beside_the_store_and_resumed(tmp_path, call, when):
    path = config(tmp_path, selector=CORE_SET)
    work = learn(path, str(tmp_path / 'work'))
    command = (TRAIN, path, '--work-dir', str(tmp_path / 'killed'),
               '--resume')
    # the 1st are those of the candidates, the 2nd of the labelled images
    killed(Kill('mmal.scoring.embeddings.reuse', 'EmbeddingStore.add', call,
                when), *command)
    succeed(*command)
    assert ids_of(tmp_path / 'killed') == ids_of(work)
    assert leftovers(tmp_path / 'killed') == []
    stores = [os.path.join(folder, 'embeddings') for folder in (
        work, str(tmp_path / 'killed'))]
    (first, ), (second, ) = map(os.listdir, stores)
    assert first == second
    assert sum(len(np.load(os.path.join(stores[1], second, name)))
               for name in os.listdir(os.path.join(stores[1], second))) == 12


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
