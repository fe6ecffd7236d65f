"""Batches kept on the device, in memory or in a file."""
import gc
import os
import tempfile
import weakref

import pytest
import torch
from test_influence_operators import (
    KINDS,
    LAYERS,
    batch_factory,
    classifier,
    dense,
    record,
)
from torch import nn

from mmal.influence import CachedBatches, GaussNewton, LayerRecorder
from mmal.influence.operators.gauss_newton import GaussNewtonBatch
from mmal.influence.operators.storage import STORAGES, FileStorage
from mmal.influence.vectors import flatten

TENSORS = [
    torch.randn(3, 4, dtype=torch.float64),
    torch.randn(2, 3, 5)[:, 1:].transpose(0, 2),
    torch.arange(7),
    torch.randn(70_000).bfloat16(),
    torch.tensor(3.5),
    torch.zeros(0, 4),
]


@pytest.mark.parametrize('kind', STORAGES)
def test_tensors_come_back_as_they_were(kind):
    storage = STORAGES[kind]()
    loads = [storage.put(t) for t in TENSORS]
    for _ in range(2):
        for load, tensor in zip(loads, TENSORS):
            found = load()
            assert found.dtype == tensor.dtype
            assert torch.equal(found, tensor)


def test_what_was_read_from_a_file_may_be_changed_and_outlives_it():
    storage = FileStorage()
    load = storage.put(torch.ones(3))
    first = load()
    first += 1
    assert load().tolist() == [1, 1, 1]
    del storage, load
    gc.collect()
    assert first.tolist() == [2, 2, 2]


def test_the_file_lies_in_the_folder_without_a_name(tmp_path):
    def open_files():
        links = [f'/proc/self/fd/{fd}' for fd in os.listdir('/proc/self/fd')]
        return [os.stat(link).st_size for link in links
                if os.path.exists(link)
                if os.readlink(link).startswith(str(tmp_path))]

    storage = FileStorage(str(tmp_path))
    storage.put(torch.ones(1000))
    assert os.listdir(tmp_path) == []
    assert open_files() == [4000]
    del storage
    gc.collect()
    assert open_files() == []


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(
        tempfile, 'TemporaryFile',
        lambda dir: open('/dev/full', 'r+b', buffering=0))
    storage = FileStorage(str(tmp_path))
    with pytest.raises(RuntimeError, match=f'{tmp_path}.*another folder'):
        storage.put(torch.ones(1000))


@pytest.mark.parametrize('storage', STORAGES)
@pytest.mark.parametrize('kind', KINDS)
def test_products_do_not_depend_on_where_batches_are_kept(kind, storage):
    make, model = batch_factory(kind, [2, 1, 1])
    recorder = LayerRecorder(model, LAYERS)
    v = [torch.randn_like(p, requires_grad=False) for p in recorder.params]
    truth = flatten(KINDS[kind]([make(i) for i in range(3)]).product(v))
    kept = CachedBatches(make, 3, storage=STORAGES[storage]())
    for _ in range(3):
        with torch.no_grad():
            found = flatten(KINDS[kind](kept).product(v))
        assert torch.equal(found, truth)
    assert kept.builds == 3 and kept.nbytes > 0
    few = CachedBatches(make, 3, kept.nbytes // 2, STORAGES[storage]())
    for builds in (3, 4):
        with torch.no_grad():
            found = flatten(KINDS[kind](few).product(v))
        assert torch.equal(found, truth)
        assert builds <= few.builds <= 2 * builds
    assert 0 < few.nbytes <= kept.nbytes // 2


@pytest.mark.parametrize('storage', ['ram', 'file'])
def test_nothing_of_a_stored_batch_stays_where_it_was_made(storage):
    make, _ = batch_factory('gauss_newton', [2])
    made = []

    def remember(index):
        batch = make(index)
        made.extend(weakref.ref(t) for term in batch.terms
                    for t in [term.input, *term.curvature.tensors()])
        return batch

    kept = CachedBatches(remember, 1, storage=STORAGES[storage]())
    kept[0]
    gc.collect()
    assert made and all(tensor() is None for tensor in made)


def test_an_input_that_layers_share_is_stored_once():
    torch.manual_seed(0)
    model = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2)]).double().eval()
    recorder, x = LayerRecorder(model, '*'), torch.randn(5, 3).double()

    def make(_):
        with recorder:
            losses = sum(m(x).square().sum(1) for m in model)
        return GaussNewtonBatch(losses, recorder)

    put = []

    class Counting(FileStorage):

        def put(self, tensor):
            put.append(tensor.shape)
            return super().put(tensor)

    kept = CachedBatches(make, 1, storage=Counting())
    kept[0]
    assert put.count(torch.Size([5, 3])) == 1
    first, second = kept[0].terms
    assert first.input is second.input


def test_softmax_curvature_is_stored():
    model, x, losses_from = classifier(4, 5)

    def make(_):
        recorder, losses = record(model, x, '*', losses_from)
        return GaussNewtonBatch(losses, recorder)

    recorder = LayerRecorder(model, '*')
    kept = CachedBatches(make, 1, storage=FileStorage())
    kept[0]
    truth = dense(GaussNewton([make(0)]), recorder)
    assert torch.equal(dense(GaussNewton(kept), recorder), truth)
