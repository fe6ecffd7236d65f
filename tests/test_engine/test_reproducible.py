import os
import random

import numpy as np
import pytest
import torch
from mmengine.fileio import get_file_backend

from mmal.engine.reproducible import (
    AtomicBackend,
    derive_seed,
    seed_everything,
    seed_worker,
)


def draws():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_seeds_all_generators_by_all_numbers():
    seed_everything(1, 2, 3)
    first = draws()
    seed_everything(1, 2, 3)
    assert draws() == first
    seed_everything(1, 2, 4)
    assert all(a != b for a, b in zip(draws(), first))


def test_derived_seeds_fit_every_generator():
    seeds = {derive_seed(a, b) for a in range(30) for b in range(30)}
    assert len(seeds) == 900
    assert all(0 <= s < 2**31 for s in seeds)


class Draws(torch.utils.data.Dataset):

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return np.random.rand(), random.random()


def epoch(seed):
    torch.manual_seed(seed)
    loader = torch.utils.data.DataLoader(
        Draws(), num_workers=2, worker_init_fn=seed_worker)
    return [tuple(float(x) for x in row) for row in loader]


def test_workers_draw_by_the_seed_of_their_epoch():
    first = epoch(0)
    assert epoch(0) == first
    assert not set(epoch(1)) & set(first)
    assert len(set(first)) == 6  # each worker has its own numbers


def test_backend_writes_whole_files(tmp_path):
    backend = get_file_backend(backend_args=dict(backend='mmal_atomic'))
    assert isinstance(backend, AtomicBackend)
    path = str(tmp_path / 'sub' / 'a.pth')
    backend.put(b'old', path)
    backend.put_text('new', path)
    assert backend.get(path) == b'new'
    assert os.listdir(tmp_path / 'sub') == ['a.pth']


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    backend = AtomicBackend()
    path = str(tmp_path / 'a.pth')
    backend.put(b'old', path)

    def full(fd):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='a.pth.*--resume'):
        backend.put(b'new', path)
    assert backend.get(path) == b'old'
