"""Ensembles: loading members, their opinions, mistakes."""
import gc
import weakref

import pytest
import torch
from torch import nn

from mmal.compat.checkpoints import CheckpointError
from mmal.models.committees import EnsembleCommittee
from mmal.registry import TASK_UTILS
from mmal.scoring import Batch
from mmal.testing import tiny_fcos


@pytest.fixture
def batch():
    return Batch([1, 2], torch.randn(2, 3, 64, 64))


def save(tmp_path, models):
    files = []
    for i, model in enumerate(models):
        files.append(str(tmp_path / f'{i}.pth'))
        torch.save(dict(state_dict=model.state_dict(), meta={}), files[-1])
    return files


@torch.no_grad()
def flat(outputs):
    return torch.cat([x.flatten() for level in outputs for x in level])


@torch.no_grad()
def test_opinions_are_those_of_the_models(tmp_path, batch):
    models = [tiny_fcos(seed=s) for s in range(3)]
    committee = EnsembleCommittee(size=3)
    committee.prepare(models[0], weights=save(tmp_path, models[1:]))
    found = list(committee.outputs(models[0], batch))
    assert len(found) == committee.size == 3
    for model, outputs in zip(models, found):
        expected = model.bbox_head(model.extract_feat(batch.inputs))
        torch.testing.assert_close(flat(outputs), flat(expected))


@torch.no_grad()
def test_members_infer_though_the_model_was_training(tmp_path, batch):
    model, other = tiny_fcos(seed=0), tiny_fcos(seed=1)
    expected = other.bbox_head(other.extract_feat(batch.inputs))
    committee = EnsembleCommittee(checkpoints=save(tmp_path, [other]))
    committee.prepare(model.train())
    _, outputs = committee.outputs(model.eval(), batch)
    torch.testing.assert_close(flat(outputs), flat(expected))


def test_bare_weights_are_taken_too(tmp_path, batch):
    model, other = tiny_fcos(seed=0), tiny_fcos(seed=1)
    path = str(tmp_path / 'bare.pth')
    torch.save(other.state_dict(), path)
    committee = EnsembleCommittee(checkpoints=[path])
    committee.prepare(model)
    first, second = committee.outputs(model, batch)
    assert not torch.equal(flat(first), flat(second))


def test_memory_is_a_copy_of_the_weights_and_is_freed(tmp_path):
    """As the docstring says: 4 bytes for each parameter and buffer."""
    model = tiny_fcos()
    committee = EnsembleCommittee(size=3)
    committee.prepare(model, weights=save(tmp_path, [model, model]))
    floats = sum(x.numel() for x in model.state_dict().values()
                 if x.is_floating_point())
    for member in committee._members:
        held = sum(x.untyped_storage().nbytes()
                   for x in member.state_dict().values()
                   if x.is_floating_point())
        assert held == 4 * floats
    left = [weakref.ref(m) for m in committee._members]
    committee.release()
    del member
    gc.collect()
    assert [r() for r in left] == [None, None]


def test_members_must_be_prepared(batch):
    with pytest.raises(RuntimeError, match='prepare'):
        next(EnsembleCommittee(size=2).outputs(tiny_fcos(), batch))
    with pytest.raises(ValueError, match='weights of 2 members.*not 0'):
        EnsembleCommittee(size=3).prepare(tiny_fcos())


def test_weights_of_another_detector(tmp_path):
    files = save(tmp_path, [tiny_fcos(num_classes=4)])
    with pytest.raises(ValueError, match=r'(?s)0\.pth does not fit.*conv_cls'):
        EnsembleCommittee(checkpoints=files).prepare(tiny_fcos())


def test_damaged_weights(tmp_path):
    path, = save(tmp_path, [tiny_fcos()])
    with open(path, 'r+b') as f:
        f.truncate(1000)
    with pytest.raises(CheckpointError, match='incomplete, damaged'):
        EnsembleCommittee(checkpoints=[path]).prepare(tiny_fcos())


@pytest.mark.parametrize('options, message', [
    (dict(), 'give size .* or checkpoints'),
    (dict(size=1), '1 member'),
    (dict(size=2.5), r'2\.5 member'),
    (dict(size=True), 'True member'),
    (dict(checkpoints=[]), '1 member'),
    (dict(size=2, checkpoints=['a', 'b']), r'size is 2, but 2 checkpoints'),
])
def test_contradictions(options, message):
    with pytest.raises(ValueError, match=message):
        EnsembleCommittee(**options)


def test_a_run_and_a_single_query_need_different_things(tmp_path):
    model = tiny_fcos()
    given = EnsembleCommittee(checkpoints=save(tmp_path, [model]))
    trained = EnsembleCommittee(size=2)
    trained.check(model, in_run=True)
    given.check(model, in_run=False)
    assert (given.trained_members, trained.trained_members) == (0, 1)
    with pytest.raises(ValueError, match='for a single query'):
        given.check(model, in_run=True)
    with pytest.raises(ValueError, match='give .*checkpoints'):
        trained.check(model, in_run=False)
    with pytest.raises(FileNotFoundError, match='nowhere'):
        EnsembleCommittee(checkpoints=['nowhere']).check(model, in_run=False)
    with pytest.raises(ValueError, match='not a single-stage detector'):
        trained.check(nn.Identity())


def test_registered():
    committee = TASK_UTILS.build(dict(type='mmal.EnsembleCommittee', size=5))
    assert committee.size == 5 and committee.trained_members == 4
