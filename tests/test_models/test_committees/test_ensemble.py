"""Ensembles: loading members, their opinions, mistakes."""
import gc
import weakref

import pytest
import torch
from helpers.tiny import build_detector, tiny_fcos, tiny_fcos_config
from mmdet.structures import DetDataSample
from mmengine.config import Config
from torch import nn

from mmal.compat.checkpoints import CheckpointError
from mmal.models.committees import EnsembleCommittee
from mmal.registry import TASK_UTILS
from mmal.scoring.batch import Batch


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


def models_of(committee, model, batch):
    return [member.model for member in committee.members(model, batch)]


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
def test_streamed_opinions_are_the_same_with_one_copy(tmp_path, batch):
    models = [tiny_fcos(seed=s) for s in range(4)]
    files = save(tmp_path, models[1:])
    found = {}
    for stream in (False, True):
        committee = EnsembleCommittee(size=4, stream=stream)
        committee.prepare(models[0], weights=files)
        for _ in range(2):  # the second time as the first
            found[stream] = [
                flat(x) for x in committee.outputs(models[0], batch)]
    others = models_of(committee, models[0], batch)[1:]
    assert len({id(m) for m in others}) == 1
    assert others[0] is not models[0]
    torch.testing.assert_close(found[True], found[False], atol=0, rtol=0)
    assert not torch.equal(found[True][1], found[True][2])


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


def test_memory_is_a_copy_of_the_weights_and_is_freed(tmp_path, batch):
    """As the docstring says: 4 bytes for each parameter and buffer."""
    model = tiny_fcos()
    committee = EnsembleCommittee(size=3)
    committee.prepare(model, weights=save(tmp_path, [model, model]))
    floats = sum(x.numel() for x in model.state_dict().values()
                 if x.is_floating_point())
    others = models_of(committee, model, batch)[1:]
    for member in others:
        held = sum(x.untyped_storage().nbytes()
                   for x in member.state_dict().values()
                   if x.is_floating_point())
        assert held == 4 * floats
    left = [weakref.ref(member) for member in others]
    committee.release()
    del member, others
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


# --- members of other configs ---


def config(tmp_path, name='other.py', **changes):
    """An FCOS of wider towers that wants its images in another way."""
    cfg = Config(dict(model=tiny_fcos_config(channels=32)))
    cfg.model.data_preprocessor.update(
        mean=[100.0, 110.0, 120.0], std=[1.0] * 3, bgr_to_rgb=False)
    cfg.merge_from_dict(changes)
    cfg.dump(str(tmp_path / name))
    return str(tmp_path / name)


def other_detector(path):
    return build_detector(Config.fromfile(path).model, 5).eval()


def preprocessed(model, images):
    """A batch of images [3, H, W], uint8 and BGR, as al_select makes it."""
    samples = [DetDataSample(metainfo=dict(img_shape=(x.shape[1:])))
               for x in images]
    data = dict(inputs=images, data_samples=samples)
    data = model.data_preprocessor(data)
    return Batch(list(range(len(images))), data['inputs'],
                 data['data_samples'])


@torch.no_grad()
@pytest.mark.parametrize('stream', [False, True])
@pytest.mark.parametrize('channels_first', [(3, 60, 70), (3, 64, 64)])
def test_a_member_of_another_config_sees_the_same_images(
        tmp_path, stream, channels_first):
    model, path = tiny_fcos(), config(tmp_path)
    other, same = other_detector(path), tiny_fcos(seed=1)
    files = save(tmp_path, [other, same, other])
    committee = EnsembleCommittee(
        checkpoints=files, configs=[path, None, path], stream=stream)
    committee.check(model, in_run=False)
    committee.prepare(model)
    images = list(torch.randint(256, (2, *channels_first)).byte())
    batch = preprocessed(model, images)
    first, second, third, fourth = map(flat, committee.outputs(model, batch))
    inputs = preprocessed(other, images).inputs
    truth = flat(other.bbox_head(other.extract_feat(inputs)))
    for found in second, fourth:
        torch.testing.assert_close(found, truth, atol=1e-3, rtol=1e-3)
    others = models_of(committee, model, batch)[1:]
    assert len({id(m) for m in others}) == 3 - stream
    inputs = preprocessed(same, images).inputs
    torch.testing.assert_close(
        third, flat(same.bbox_head(same.extract_feat(inputs))))


@pytest.mark.parametrize('changes, message', [
    ({'model.bbox_head.num_classes': 4}, '4 classes, the model 3'),
    ({'model.data_preprocessor.pad_size_divisor': 32},
     'pad_size_divisor is 32, that of the model 16'),
    ({'model.data_preprocessor.type': 'ImgDataPreprocessor'},
     'ImgDataPreprocessor'),
    ({'model.backbone.strides': (2, 2, 2)}, 'same strides'),
])
def test_other_configs_must_agree(tmp_path, changes, message):
    path = config(tmp_path, **changes)
    files = save(tmp_path, [tiny_fcos()])
    committee = EnsembleCommittee(checkpoints=files, configs=[path])
    with pytest.raises(ValueError, match=f'configs: .*{message}'):
        committee.check(tiny_fcos(), in_run=False)


@pytest.mark.parametrize('stream, built', [(False, 2), (True, 1)])
def test_each_detector_is_built_once(tmp_path, monkeypatch, stream, built):
    path, read = config(tmp_path), []
    files = save(tmp_path, [other_detector(path)] * 2)
    fromfile = Config.fromfile
    monkeypatch.setattr(
        Config, 'fromfile', lambda c: read.append(c) or fromfile(c))
    committee = EnsembleCommittee(
        checkpoints=files, configs=[path, path], stream=stream)
    committee.prepare(tiny_fcos())
    assert read == [path] * built


def test_a_config_that_does_not_fit_is_found_without_a_check(tmp_path):
    path = config(tmp_path, **{'model.backbone.strides': (2, 2, 2)})
    committee = EnsembleCommittee(
        checkpoints=save(tmp_path, [tiny_fcos()]), configs=[path])
    with pytest.raises(ValueError, match='configs: .*same strides'):
        committee.prepare(tiny_fcos())


def test_weights_of_another_config(tmp_path):
    path = config(tmp_path)
    files = save(tmp_path, [tiny_fcos()])
    committee = EnsembleCommittee(checkpoints=files, configs=[path])
    with pytest.raises(ValueError, match=r'(?s)0\.pth does not fit.*other'):
        committee.prepare(tiny_fcos())


def test_class_names_must_agree(tmp_path):
    model = tiny_fcos()
    model.dataset_meta = dict(classes=('car', 'cat', 'dog'))
    path = str(tmp_path / 'named.pth')
    meta = dict(dataset_meta=dict(classes=['cat', 'car', 'dog']))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    with pytest.raises(ValueError, match='cat, car, dog, the model for car'):
        EnsembleCommittee(checkpoints=[path]).check(model, in_run=False)


def test_configs_and_checkpoints_belong_together(tmp_path):
    with pytest.raises(ValueError, match='1 entries for 2 checkpoints'):
        EnsembleCommittee(checkpoints=['a', 'b'], configs=['c'])
    with pytest.raises(ValueError, match='1 entries for 0 checkpoints'):
        EnsembleCommittee(size=2, configs=['c'])
    files = save(tmp_path, [tiny_fcos()])
    committee = EnsembleCommittee(checkpoints=files, configs=['nowhere.py'])
    with pytest.raises(FileNotFoundError, match=r'configs.*nowhere\.py'):
        committee.check(tiny_fcos(), in_run=False)


def test_registered():
    committee = TASK_UTILS.build(dict(type='mmal.EnsembleCommittee', size=5))
    assert committee.size == 5 and committee.trained_members == 4
