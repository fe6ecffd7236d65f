"""Embeddings that are used again: by which image, made by which network."""
import os
import zlib

import numpy as np
import pytest
import torch
from helpers.tiny import tiny_config, tiny_fcos

from mmal.pool import ExpectedImage
from mmal.scoring import (
    BaseScorer,
    EmbeddingModel,
    EntropyScorer,
    RandomScorer,
    ScoringData,
    Split,
    score_pool,
)
from mmal.scoring.embeddings import reuse
from mmal.scoring.embeddings.base import BackboneEmbedder
from mmal.scoring.embeddings.embed import embed_split
from mmal.scoring.embeddings.reuse import EmbeddingStore
from mmal.scoring.embeddings.store import EmbeddingFile

RESNET = dict(
    type='mmdet.ResNet', depth=18, num_stages=2, base_channels=4,
    stem_channels=4, strides=(1, 2), dilations=(1, 1), out_indices=(1, ))


@pytest.fixture
def images(tmp_path):
    """Five files and rows that belong to them."""
    files = {}
    for i in range(5):
        path = str(tmp_path / f'{i}.jpg')
        with open(path, 'w') as f:
            f.write('x' * i)
        files[i] = ExpectedImage(path, (8, 9))
    return files, np.random.default_rng(0).standard_normal((5, 7))


@pytest.fixture
def warnings(monkeypatch):
    """What users are told."""
    told = []
    monkeypatch.setattr(reuse, 'print_log',
                        lambda text, *args: told.append(text))
    return told


def filled(folder, images, dtype='float32', ids=range(5)):
    files, rows = images
    store = EmbeddingStore(str(folder), 'resnet', dtype)
    marks = store.find(files).marks
    ids = list(ids)
    store.add(ids, [rows[ids[:2]], rows[ids[2:]]], 7, marks)
    return store


def read(store, files):
    """The rows that the store has, by image."""
    stored = store.find(files)
    assert stored.ids == stored.where.keys()
    return {i: np.array(stored.rows[n][row])
            for i, (n, row) in stored.where.items()}


def assert_rows(got, rows, ids, dtype='float32'):
    assert got.keys() == set(ids)
    for i in ids:
        np.testing.assert_array_equal(got[i], rows[i].astype(dtype))


def file_of(store):
    (name, ) = os.listdir(store.folder)
    return os.path.join(store.folder, name)


@pytest.mark.parametrize('dtype', ['float32', 'float16'])
def test_another_run_finds_the_rows(tmp_path, images, dtype):
    files, rows = images
    filled(tmp_path / 'store', images, dtype)
    again = EmbeddingStore(str(tmp_path / 'store'), 'resnet', dtype)
    assert_rows(read(again, files), rows, range(5), dtype)
    assert_rows(read(again, {3: files[3]}), rows, [3], dtype)
    # by the file, whatever the image is called
    renamed = read(again, {f'image {i}': file for i, file in files.items()})
    np.testing.assert_array_equal(renamed['image 4'], rows[4].astype(dtype))
    other = 'float16' if dtype == 'float32' else 'float32'
    for stranger in (EmbeddingStore(str(tmp_path / 'store'), 'vgg', dtype),
                     EmbeddingStore(str(tmp_path / 'store'), 'resnet', other)):
        assert read(stranger, files) == {}


def test_a_changed_image_has_no_row(tmp_path, images):
    files, rows = images
    store = filled(tmp_path / 'store', images)
    status = os.stat(files[0].path)
    os.utime(files[0].path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    status = os.stat(files[1].path)
    with open(files[1].path, 'a') as f:
        f.write('more')
    os.utime(files[1].path, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.unlink(files[2].path)
    files[3] = ExpectedImage(files[3].path, (9, 8))
    stored = store.find(files)
    assert stored.ids == {4} and 2 not in stored.marks
    # and gets one of its own beside the others
    store.add([0, 3], [rows[[3, 0]]], 7, stored.marks)
    got = read(store, files)
    assert got.keys() == {0, 3, 4}
    np.testing.assert_array_equal(got[0], rows[3].astype('f4'))


def test_a_damaged_row_is_lost_alone(tmp_path, images, warnings):
    files, rows = images
    store = filled(tmp_path / 'store', images)
    path = file_of(store)
    with open(path, 'rb') as f:
        content = bytearray(f.read())
    at = content.index(rows[2].astype('f4').tobytes())
    content[at + 5] ^= 1
    with open(path, 'wb') as f:
        f.write(content)
    stored = store.find(files)
    assert stored.ids == {0, 1, 3, 4}
    assert len(warnings) == 1 and f'{path} is damaged: 1 emb' in warnings[0]
    store.add([2], [rows[[2]]], 7, stored.marks)
    assert_rows(read(store, files), rows, range(5))
    assert len(warnings) == 1


@pytest.mark.parametrize('damage', [
    lambda content: content[:-1], lambda content: content[:40],
    lambda content: b'', lambda content: b'\0' * len(content)],
    ids=['short', 'header', 'empty', 'zeros'])
def test_a_damaged_file_is_made_again(tmp_path, images, damage, warnings):
    files, rows = images
    store = filled(tmp_path / 'store', images, ids=[0, 1, 2])
    path = file_of(store)
    with open(path, 'rb') as f:
        content = f.read()
    with open(path, 'wb') as f:
        f.write(damage(content))
    stored = store.find(files)
    assert stored.ids == frozenset() and not os.path.exists(path)
    assert len(warnings) == 1 and f'{path} is damaged' in warnings[0]
    store.add([0, 1], [rows[:2]], 7, stored.marks)
    assert_rows(read(store, files), rows, [0, 1])


def test_no_object_is_unpickled(tmp_path, images):
    files, _ = images
    store = filled(tmp_path / 'store', images)

    class Hostile:

        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'executed'), )

    np.save(file_of(store), np.array([Hostile()]), allow_pickle=True)
    assert store.find(files).ids == frozenset()
    assert not (tmp_path / 'executed').exists()


def test_the_checksum_is_of_image_and_row(tmp_path, images):
    """A row that is moved to another image does not pass for its own."""
    files, rows = images
    store = filled(tmp_path / 'store', images)
    table = np.load(file_of(store))
    table['image'][[0, 1]] = table['image'][[1, 0]]
    np.save(file_of(store), table)
    assert store.find(files).ids == {2, 3, 4}
    first = table[2]
    assert first['checksum'] == zlib.crc32(
        rows[2].astype('f4').tobytes(), zlib.crc32(first['image'].tobytes()))


@pytest.fixture
def dataset(tmp_path, mmdet_scope):
    config = tiny_config(str(tmp_path / 'data'))
    return dict(
        config.train_dataloader.dataset,
        pipeline=config.test_dataloader.dataset.pipeline)


def make(dataset, embedder, **kwargs):
    return ScoringData(
        dict(unlabelled=Split(dataset, labels=False)),
        batch_size=3, num_workers=0, progress=False, embedder=embedder,
        **kwargs)


class Looking(BaseScorer):
    """A scorer that reads the images and no embedding."""

    def process(self, model, batch):
        return dict(score=batch.inputs.double().mean((1, 2, 3)))


@pytest.mark.parametrize('scorer', [RandomScorer, Looking, EntropyScorer])
def test_only_new_images_reach_the_network(dataset, tmp_path, scorer):
    model, embedder = tiny_fcos(), EmbeddingModel(RESNET)
    passes, looked_at = [], []
    embedder.network.register_forward_hook(
        lambda module, args, out: passes.append(len(args[0])))

    def score(number, **kwargs):
        file = EmbeddingFile(
            str(tmp_path / f'{number}.npy'),
            store=EmbeddingStore(str(tmp_path / 'store'), 'resnet',
                                 'float32'))
        passes.clear(), looked_at.clear()
        return score_pool(
            model, scorer(), make(
                dataset, embedder,
                check_image=lambda path, size: looked_at.append(path)),
            embeddings=file, **kwargs)

    first = score(0)
    assert sum(passes) == len(looked_at) == len(first) == 12
    expected = np.array(first.embeddings)
    second = score(1)
    assert passes == []
    assert len(looked_at) == (0 if scorer is RandomScorer else 12)
    assert second.ids == first.ids
    np.testing.assert_array_equal(second.values, first.values)
    np.testing.assert_array_equal(second.embeddings, expected)

    # one that was changed; and one whose score alone is known
    path = looked_at[0] if looked_at else os.path.join(
        str(tmp_path / 'data'), 'images',
        sorted(os.listdir(tmp_path / 'data' / 'images'))[0])
    os.utime(path, ns=(1, 1))
    third = score(2)
    assert sum(passes) in (1, 2, 3) and third.ids == first.ids
    np.testing.assert_allclose(third.embeddings, expected, rtol=1e-5,
                               atol=1e-6)
    ids, rows = embed_split(
        model, make(dataset, embedder), 'unlabelled',
        EmbeddingFile(str(tmp_path / '3.npy'), store=EmbeddingStore(
            str(tmp_path / 'store'), 'resnet', 'float32')), first.ids[2:5])
    assert ids == first.ids[2:5]
    np.testing.assert_array_equal(rows, third.embeddings[2:5])


def test_an_image_that_broke_has_no_embedding(dataset, tmp_path):
    model, embedder = tiny_fcos(), EmbeddingModel(RESNET)
    file = EmbeddingFile(
        str(tmp_path / 'embeddings.npy'),
        store=EmbeddingStore(str(tmp_path / 'store'), 'resnet', 'float32'))
    first = score_pool(model, RandomScorer(), make(dataset, embedder),
                       embeddings=file)
    data = make(dataset, embedder, check_image=lambda path, size:
                None if os.path.exists(path) else 'no such file')
    lost = first.ids[3]
    os.unlink(data.files('unlabelled')[lost].path)
    second = score_pool(model, RandomScorer(), data, embeddings=file)
    assert second.ids == [i for i in first.ids if i != lost]
    assert second.unreadable == {lost: 'no such file'}


def test_fingerprint_tells_networks_apart(mmdet_scope):
    model = tiny_fcos()
    other = dict(mean=[0., 0., 0.], std=[1., 1., 1.], bgr_to_rgb=True)
    same = EmbeddingModel(RESNET).fingerprint(model)
    assert EmbeddingModel(dict(RESNET), store='elsewhere').fingerprint(
        model) == same
    trained = EmbeddingModel(RESNET)
    next(trained.network.parameters()).data[0] += 1e-3
    moved = tiny_fcos()
    moved.data_preprocessor.mean += 1
    prints = {
        same, trained.fingerprint(model),
        EmbeddingModel(RESNET, other).fingerprint(model),
        EmbeddingModel(dict(RESNET, strides=(1, 1))).fingerprint(model),
        EmbeddingModel(RESNET).fingerprint(moved)}
    assert len(prints) == 5
    for weights in model.parameters():  # the detector learns
        torch.nn.init.normal_(weights)
    assert EmbeddingModel(RESNET).fingerprint(model) == same
    assert BackboneEmbedder().fingerprint(model) is None
