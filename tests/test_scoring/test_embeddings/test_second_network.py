"""Embeddings of a second model against that model run by hand."""
import numpy as np
import pytest
import torch
from helpers.tiny import tiny_config, tiny_fcos
from mmdet.models import DetDataPreprocessor

from mmal.registry import TASK_UTILS
from mmal.scoring import (
    EmbeddingModel,
    EntropyScorer,
    RandomScorer,
    ScoringData,
    Split,
    score_pool,
)
from mmal.scoring.embeddings.embed import embed_split
from mmal.scoring.embeddings.store import EmbeddingFile

RESNET = dict(
    type='mmdet.ResNet', depth=18, num_stages=3, base_channels=8,
    stem_channels=8, strides=(1, 2, 2), dilations=(1, 1, 1),
    out_indices=(1, 2))
OTHER = dict(mean=[10., 20., 30.], std=[2., 3., 4.], bgr_to_rgb=False)


@pytest.fixture
def dataset(tmp_path, mmdet_scope):
    config = tiny_config(str(tmp_path / 'data'))
    return dict(
        config.train_dataloader.dataset,
        pipeline=config.test_dataloader.dataset.pipeline)


def make(dataset, embedder, batch_size=2):
    return ScoringData(
        dict(unlabelled=Split(dataset, labels=False)),
        batch_size=batch_size, num_workers=0, progress=False,
        embedder=embedder)


def by_hand(dataset, embedder, model):
    """From the images on the disk, one at a time."""
    from mmdet.registry import DATASETS
    target = DetDataPreprocessor(
        **embedder.data_preprocessor,
        pad_size_divisor=model.data_preprocessor.pad_size_divisor)
    rows = {}
    for item in DATASETS.build(dict(dataset, test_mode=True)):
        data = target(dict(inputs=[item['inputs']],
                           data_samples=[item['data_samples']]), False)
        maps = embedder.network(data['inputs'])[-1]
        rows[item['data_samples'].img_id] = maps.mean((2, 3))[0].numpy()
    return rows


@pytest.mark.parametrize('scorer', [RandomScorer, EntropyScorer])
@pytest.mark.parametrize('normalisation', [None, OTHER])
def test_rows_are_the_second_models(dataset, tmp_path, scorer,
                                    normalisation):
    embedder = TASK_UTILS.build(dict(
        type='mmal.EmbeddingModel', backbone=RESNET,
        data_preprocessor=normalisation))
    model = tiny_fcos()
    file = EmbeddingFile(str(tmp_path / 'embeddings.npy'))
    scores = score_pool(model, scorer(), make(dataset, embedder),
                        embeddings=file)
    expected = by_hand(dataset, embedder, model)
    np.testing.assert_allclose(
        scores.embeddings, [expected[i] for i in scores.ids], rtol=1e-4,
        atol=1e-4)
    plain = score_pool(model, scorer(), make(dataset, None))
    np.testing.assert_array_equal(scores.values, plain.values)
    assert np.ptp(scores.embeddings, 0).max() > 1e-3


def test_labelled_images_are_embedded_alike(dataset, tmp_path):
    embedder, model = EmbeddingModel(RESNET), tiny_fcos()
    files = [EmbeddingFile(str(tmp_path / f'{i}.npy')) for i in range(3)]
    scores = score_pool(model, RandomScorer(), make(dataset, embedder),
                        embeddings=files[0])
    ids, rows = embed_split(model, make(dataset, embedder), 'unlabelled',
                            files[1])
    assert ids == scores.ids
    np.testing.assert_array_equal(rows, scores.embeddings)
    _, own = embed_split(model, make(dataset, None), 'unlabelled', files[2])
    assert np.abs(own - rows).max() > 1e-3


def test_weights_are_the_same_wherever_they_are_drawn(mmdet_scope):
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = EmbeddingModel(RESNET).network.state_dict()
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(6)
    second = EmbeddingModel(RESNET).network
    assert all(torch.equal(v, first[k])
               for k, v in second.state_dict().items())
    assert not any(p.requires_grad for p in second.parameters())


def test_weights_of_a_file_are_loaded(tmp_path, mmdet_scope):
    path = str(tmp_path / 'weights.pth')
    weights = {k: v + 1 if v.is_floating_point() else v
               for k, v in EmbeddingModel(RESNET).network.state_dict().items()}
    torch.save(dict(state_dict=weights), path)
    init = dict(type='Pretrained', checkpoint=path)
    found = EmbeddingModel(dict(RESNET, init_cfg=init)).network.state_dict()
    assert all(torch.equal(found[k], v) for k, v in weights.items())


def test_vgg16_of_ssd_gives_its_last_convolution(mmdet_scope):
    """512 numbers, "VGG" of the paper, from mmdet's SSDVGG."""
    embedder = EmbeddingModel(dict(
        type='mmdet.SSDVGG', depth=16, out_feature_indices=(29, )))
    net = embedder.network
    images = torch.zeros(1, 3, 64, 64)
    maps = net(images)
    assert maps.shape == (1, 512, 4, 4)
    with torch.no_grad():
        assert torch.equal(maps, net.features[:30](images))
    last = [m for m in net.features[:30] if isinstance(m, torch.nn.Conv2d)]
    assert len(last) == 13 and isinstance(net.features[29], torch.nn.ReLU)


@pytest.mark.parametrize('kwargs, message', [
    (dict(backbone=dict(type='mmdet.NoSuchNet')),
     'active_learning.embedder.backbone cannot be built'),
    (dict(backbone=dict(RESNET, deep=3)), 'backbone cannot be built'),
    (dict(backbone=dict(RESNET, depth=7)), 'backbone cannot be built')])
def test_mistakes_are_named(mmdet_scope, kwargs, message):
    model = tiny_fcos()
    with pytest.raises(ValueError, match=message):
        EmbeddingModel(**kwargs).check(model)
    EmbeddingModel(RESNET).check(model)


def test_a_network_without_maps(mmdet_scope, monkeypatch):
    monkeypatch.setattr(EmbeddingModel, 'network', torch.nn.Flatten(0))
    embedder = EmbeddingModel(RESNET)
    with pytest.raises(ValueError, match='embedder.backbone: .*not a map'):
        embedder.check(tiny_fcos())


class Vectors(torch.nn.Module):
    """The mean of each row of each channel, of images of 24 x 16."""
    input_size = (24, 16)
    data_preprocessor = OTHER

    def forward(self, images):
        assert images.shape[1:] == (3, 24, 16)
        return images.mean(3).flatten(1)


@pytest.mark.parametrize('size', [None, (24, 16)])
def test_vectors_of_images_in_a_size_of_their_own(dataset, tmp_path,
                                                  monkeypatch, size):
    """Without the padding, whose rows would be grey."""
    monkeypatch.setattr(EmbeddingModel, 'network', Vectors())
    embedder, model = EmbeddingModel(RESNET, input_size=size), tiny_fcos()
    assert embedder.input_size == (24, 16)
    embedder.check(model)
    model.data_preprocessor.pad_size_divisor = 48
    file = EmbeddingFile(str(tmp_path / 'embeddings.npy'))
    scores = score_pool(model, RandomScorer(), make(dataset, embedder),
                        embeddings=file)
    from mmdet.registry import DATASETS
    for item in DATASETS.build(dict(dataset, test_mode=True)):
        image = item['inputs'].float()
        image = (image - torch.tensor(OTHER['mean'])[:, None, None]) / \
            torch.tensor(OTHER['std'])[:, None, None]
        image = torch.nn.functional.interpolate(
            image[None], (24, 16), mode='bilinear', antialias=True)
        row = scores.embeddings[scores.ids.index(
            item['data_samples'].img_id)]
        np.testing.assert_allclose(row, image.mean(3).flatten(), rtol=1e-4,
                                   atol=1e-4)


def test_the_size_tells_embeddings_apart(mmdet_scope):
    model = tiny_fcos()
    prints = {EmbeddingModel(RESNET, input_size=size).fingerprint(model)
              for size in (None, 64, (64, 32))}
    assert len(prints) == 3
    for size in (0, (64, ), (64, 0)):
        with pytest.raises(ValueError, match='input_size is'):
            EmbeddingModel(RESNET, input_size=size)


def test_images_that_cannot_be_translated(mmdet_scope):
    model = tiny_fcos()
    model.data_preprocessor = torch.nn.Identity()
    with pytest.raises(ValueError, match='this one has a Identity'):
        EmbeddingModel(RESNET).check(model)
