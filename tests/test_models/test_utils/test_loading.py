"""Weights of files in models."""
import pytest
import torch
from torch import nn

from mmal.compat.checkpoints import CorruptCheckpointError
from mmal.models.utils import load_weights


def net(width=3):
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'weights.pth')


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize('mmap', [False, True])
@pytest.mark.parametrize('wrapped', [False, True])
@pytest.mark.parametrize('bare', [False, True])
def test_all_weights_arrive(path, bare, wrapped, mmap):
    saved, model = net(), net()
    # with the names of DataParallel, which a GPU would take the model to
    weights = {'module.' * wrapped + k: v
               for k, v in saved.state_dict().items()}
    torch.save(weights if bare else dict(state_dict=weights,
                                         meta=dict(epoch=3)), path)
    content = load_weights(model, path, mmap=mmap)
    assert same(saved, model)
    assert bare or content['meta'] == dict(epoch=3)


@pytest.mark.parametrize('change, message', [
    (lambda w: w.pop('0.bias'), 'Missing.*0.bias'),
    (lambda w: w.update(other=torch.ones(1)), 'Unexpected.*other'),
    (lambda w: w.update({'0.bias': torch.ones(5)}), 'mismatch for 0.bias'),
])
@pytest.mark.parametrize('config', ['net.py', None])
def test_a_file_that_does_not_fit(path, change, message, config):
    weights = net().state_dict()
    change(weights)
    torch.save(dict(state_dict=weights), path)
    whose = config or 'the config'
    with pytest.raises(ValueError, match=(
            f'(?s)weights.pth does not fit the detector of {whose}.*'
            f'{message}')):
        load_weights(net(), path, config)


def test_files_that_are_no_checkpoints(path):
    with pytest.raises(FileNotFoundError, match=r'weights\.pth'):
        load_weights(net(), path)
    with open(path, 'wb') as f:
        f.write(b'junk')
    with pytest.raises(CorruptCheckpointError, match=r'weights\.pth'):
        load_weights(net(), path)
