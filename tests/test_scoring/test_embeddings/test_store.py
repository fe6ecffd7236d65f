"""Embeddings against the backbone run by hand, one image at a time."""
import os
import pickle

import numpy as np
import pytest
import torch
from helpers.tiny import tiny_config, tiny_fcos
from torch import nn

from mmal.fileio import open_rows
from mmal.models.committees import DropoutCommittee
from mmal.scores import Scores
from mmal.scoring import (
    BaseScorer,
    EntropyScorer,
    RandomScorer,
    ScoringData,
    Split,
    score_pool,
)
from mmal.scoring.batch import Batch
from mmal.scoring.embeddings.base import BackboneEmbedder, backbone_of, pooled
from mmal.scoring.embeddings.embed import embed_split
from mmal.scoring.embeddings.store import EmbeddingFile


class Detecting(BaseScorer):
    """One forward pass; counts those of the backbone."""

    def process(self, model, batch):
        with torch.no_grad():
            maps = model.extract_feat(batch.inputs)
        return dict(score=maps[0].flatten(1).double().mean(1))


class Flipped(Detecting):

    def process(self, model, batch):
        return super().process(model, Batch(batch.ids, batch.inputs.flip(3)))


class Own(Detecting):
    needs_embeddings = True

    def process(self, model, batch):
        return dict(
            super().process(model, batch),
            embedding=torch.tensor(batch.ids)[:, None].float())


def bad(path, size):
    return 'it is truncated' if path.endswith('3.png') else None


@pytest.fixture
def data(tmp_path, mmdet_scope):

    def make(batch_size=2, **kwargs):
        config = tiny_config(str(tmp_path / 'data'))
        dataset = dict(
            config.train_dataloader.dataset,
            pipeline=config.test_dataloader.dataset.pipeline)
        return ScoringData(
            dict(unlabelled=Split(dataset, labels=False)),
            batch_size=batch_size,
            num_workers=0,
            **kwargs)

    return make


@pytest.fixture
def file(tmp_path):
    return EmbeddingFile(str(tmp_path / 'out' / 'embeddings.npy'))


def passes(model):
    """A list that grows with every pass of the backbone."""
    seen = []
    model.backbone.register_forward_hook(lambda *args: seen.append(1))
    return seen


def by_hand(model, scoring):
    rows = {}
    for batch in scoring.batches('unlabelled', model):
        for i, image in enumerate(batch.ids):
            with torch.no_grad():
                last = model.backbone(batch.inputs[i:i + 1])[-1]
            rows[image] = last.double().sum((2, 3)) / last[0, 0].numel()
    return torch.cat([rows[i] for i in scoring.ids('unlabelled')]).numpy()


@pytest.mark.parametrize('scorer', [Detecting, Flipped, RandomScorer])
@pytest.mark.parametrize('batch_size', [1, 4])
def test_average_of_the_last_map(data, file, scorer, batch_size):
    model = tiny_fcos()
    scores = score_pool(
        model, scorer(), data(batch_size), embeddings=file)
    assert isinstance(scores.embeddings, np.memmap)
    assert scores.embeddings.shape == (12, 32)
    assert scores.embeddings.dtype == np.float32
    np.testing.assert_allclose(
        scores.embeddings, by_hand(model, data()), rtol=1e-5, atol=1e-6)
    assert os.listdir(os.path.dirname(file.path)) == ['embeddings.npy']


def test_scores_are_those_without_embeddings(data, file):
    model = tiny_fcos()
    for scorer in (Detecting(), RandomScorer()):
        plain = score_pool(model, scorer, data())
        scores = score_pool(model, scorer, data(), embeddings=file)
        assert plain.ids == scores.ids and plain.embeddings is None
        np.testing.assert_array_equal(plain.values, scores.values)


@pytest.mark.parametrize('scorer, extra', [(Detecting, 1), (Flipped, 2)])
def test_no_pass_more_than_needed(data, file, scorer, extra):
    model = tiny_fcos()
    seen = passes(model)
    score_pool(model, scorer(), data(batch_size=1), embeddings=file)
    assert len(seen) == 12 * extra
    assert len(model.backbone._forward_hooks) == 1


def test_a_backbone_with_dropout_is_run_again_without(data, file):
    model = tiny_fcos()
    model.backbone.layer3.add_module('dropout', nn.Dropout(0.9))

    class Dropping(Detecting):

        def process(self, model, batch):
            model.backbone.layer3.dropout.train()
            try:
                return super().process(model, batch)
            finally:
                model.backbone.layer3.dropout.eval()

    scores = score_pool(model, Dropping(), data(), embeddings=file)
    np.testing.assert_allclose(
        scores.embeddings, by_hand(model, data()), rtol=1e-5, atol=1e-6)


def test_a_committee_that_drops_in_the_backbone(data, file):
    model = tiny_fcos()
    model.backbone.layer3.add_module('dropout', nn.Dropout(0.9))
    committee = DropoutCommittee(passes=2)
    committee.prepare(model)
    scores = score_pool(
        model, EntropyScorer(), data(committee=committee), embeddings=file)
    np.testing.assert_allclose(
        scores.embeddings, by_hand(model, data()), rtol=1e-5, atol=1e-6)


def test_a_scorers_own_embeddings(data, file):
    scores = score_pool(tiny_fcos(), Own(), data(), embeddings=file)
    assert scores.embeddings[:, 0].tolist() == scores.ids
    assert 'embedding' not in scores.columns


def test_unreadable_images_have_none(data, file):
    for scorer in (Detecting(), RandomScorer()):
        scores = score_pool(
            tiny_fcos(), scorer, data(check_image=bad), embeddings=file)
        assert len(scores) == len(scores.embeddings) == 11
        assert len(scores.unreadable) == 1


def test_rows_of_known_scores_are_taken_over(data, file):
    model = tiny_fcos()
    some = score_pool(
        model, Detecting(), data(check_image=bad), embeddings=file)
    seen = passes(model)
    whole = score_pool(
        model, Detecting(), data(), known=some, embeddings=file)
    assert len(seen) == 1 and whole.ids == data().ids('unlabelled')
    np.testing.assert_allclose(
        whole.embeddings, by_hand(model, data()), rtol=1e-5, atol=1e-6)


def test_no_image_could_be_read_before(data, file):
    none = score_pool(
        tiny_fcos(),
        RandomScorer(),
        data(check_image=lambda path, size: 'it is gone'),
        embeddings=file)
    assert len(none) == 0 and len(none.unreadable) == 12
    whole = score_pool(
        tiny_fcos(), RandomScorer(), data(), known=none, embeddings=file)
    np.testing.assert_allclose(
        whole.embeddings, by_hand(tiny_fcos(), data()), rtol=1e-5, atol=1e-6)


def test_a_split_by_the_backbone_alone(data, tmp_path):
    model = tiny_fcos().train()
    scoring = data()
    wanted = scoring.ids('unlabelled')[3:9]
    half = EmbeddingFile(str(tmp_path / 'half.npy'), 'float16')
    ids, rows = embed_split(model, scoring, 'unlabelled', half, wanted)
    assert ids == wanted and rows.dtype == np.float16 and model.training
    np.testing.assert_allclose(
        rows, by_hand(model.eval(), data())[3:9], rtol=2e-3, atol=1e-4)
    assert half.open(6) is not None
    assert half.open(5) is None
    assert EmbeddingFile(half.path).open(6) is None
    assert embed_split(model, scoring, 'unlabelled', half, [])[0] == []


def test_files_beside_the_scores(data, file):
    scores = score_pool(tiny_fcos(), Detecting(), data(), embeddings=file)
    path = os.path.join(os.path.dirname(file.path), 'scores.npz')
    scores.save(path)
    assert os.path.getsize(path) < 4000
    loaded = Scores.load(path)
    assert isinstance(loaded.embeddings, np.memmap)
    np.testing.assert_array_equal(loaded.embeddings, scores.embeddings)
    content = pickle.dumps(loaded)
    assert len(content) < 3000
    np.testing.assert_array_equal(
        pickle.loads(content).embeddings, scores.embeddings)
    assert loaded.take(slice(2, None)).embeddings.shape == (10, 32)
    np.save(file.path, np.zeros((3, 2), 'f4'))  # of another pool
    assert Scores.load(path).embeddings is None
    os.unlink(file.path)
    assert Scores.load(path).embeddings is None


def test_an_interrupted_pass_leaves_the_file_as_it_was(data, file):
    score_pool(tiny_fcos(), Detecting(), data(), embeddings=file)
    before = np.array(open_rows(file.path))

    class Failing(Detecting):

        def process(self, model, batch):
            raise RuntimeError('no')

    with pytest.raises(RuntimeError):
        score_pool(tiny_fcos(seed=1), Failing(), data(), embeddings=file)
    np.testing.assert_array_equal(open_rows(file.path), before)
    assert len(os.listdir(os.path.dirname(file.path))) == 1


def test_a_model_without_a_backbone():
    with pytest.raises(ValueError, match='Linear has no backbone'):
        backbone_of(nn.Linear(1, 1))


@pytest.mark.parametrize('output', [
    torch.arange(8.).view(1, 2, 2, 2),
    (torch.zeros(1, 5, 9, 9), torch.arange(8.).view(1, 2, 2, 2)),
    dict(a=torch.zeros(1, 1, 1, 1), b=torch.arange(8.).view(1, 2, 2, 2))
])
def test_what_backbones_return(output):
    assert pooled(output).tolist() == [[1.5, 5.5]]


@pytest.mark.parametrize('output', [(), torch.zeros(2, 3), [torch.zeros(2)]])
def test_what_is_no_map(output):
    with pytest.raises(ValueError, match='not a map of shape'):
        pooled(output)


def test_half_precision_maps_are_averaged_in_float32():
    maps = torch.full((1, 1, 64, 64), 60000., dtype=torch.float16)
    assert pooled(maps).item() == 60000


def test_float16_that_is_too_small(tmp_path):
    file = EmbeddingFile(str(tmp_path / 'e.npy'), 'float16')
    with file.shard() as shard:
        with pytest.raises(ValueError, match="1e.05, too large for float16"):
            shard.append([1], np.full((1, 2), 1e5, 'f4'))
        with pytest.raises(ValueError, match='for 2 images'):
            shard.append([1, 2], np.zeros((1, 2), 'f4'))


def test_the_hook_is_removed_after_an_error():
    model = tiny_fcos()
    with pytest.raises(RuntimeError), BackboneEmbedder().attach(
            model):
        raise RuntimeError
    assert not model.backbone._forward_hooks
