"""Results of the GPU beside those of the CPU."""
import copy
from functools import cache, partial

import numpy as np
import pytest
import torch
from helpers.detectors import DETECTORS, DROPOUT_DETECTORS
from helpers.influence_by_hand import scoring_data


@cache
def _detector(name):
    return {**DETECTORS, **DROPOUT_DETECTORS}[name]()


@pytest.fixture
def detector(mmdet_scope):
    """Takes a name and a device; a fresh copy of a model in eval mode."""
    def build(name, device='cpu'):
        return copy.deepcopy(_detector(name)).to(device)

    return build


@pytest.fixture(scope='session')
def _root(tmp_path_factory):
    return tmp_path_factory.mktemp('tiny_coco')


@pytest.fixture
def data(_root, mmdet_scope):
    """Makes the ScoringData of twelve images and six of validation."""
    return partial(scoring_data, _root)


@pytest.fixture(scope='session')
def close():
    """Asserts that of a GPU to be on it, and near that of the CPU.

    Both may be tensors, arrays, numbers, or lists and dicts of them; errors
    are relative to the largest number of a tensor.
    """
    def compare(gpu, cpu, rtol=1e-4):
        if isinstance(cpu, dict):
            assert gpu.keys() == cpu.keys()
            gpu, cpu = list(gpu.values()), list(cpu.values())
        if isinstance(cpu, (list, tuple)):
            assert len(gpu) == len(cpu)
            for g, c in zip(gpu, cpu):
                compare(g, c, rtol)
            return
        if torch.is_tensor(cpu):
            assert torch.is_tensor(gpu) and gpu.is_cuda and not cpu.is_cuda
            assert gpu.dtype == cpu.dtype
            gpu, cpu = (x.detach().cpu().double().numpy() for x in (gpu, cpu))
        gpu, cpu = np.asarray(gpu), np.asarray(cpu)
        assert gpu.shape == cpu.shape
        largest = np.abs(cpu[np.isfinite(cpu)]).max(initial=1e-12)
        np.testing.assert_allclose(gpu, cpu, rtol, rtol * largest)

    return compare
