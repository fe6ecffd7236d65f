"""A frozen backbone whose features are kept."""
import copy
import os.path as osp

import pytest
import torch
from helpers.forks import ROOT
from helpers.tiny import build_detector, tiny_fcos_config
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmal.models import CachedBackbone
from mmal.models.backbones import cached_backbone
from mmal.models.utils.evaluation_mode import forward_precision
from mmal.registry import MODELS

TINY = dict(tiny_fcos_config()['backbone'], type='mmdet.ResNet')
CONFIG = 'configs/_base_/models/fcos_efficientnet-lite0-cached_fpn_s8-16.py'


@pytest.fixture
def backbone(mmdet_scope):
    """With weights of its own for each test, so that nothing is kept yet."""
    made = CachedBackbone(TINY)
    made.init_weights()
    return made


def images(number, seed=0, size=(64, 48)):
    return torch.randn(number, 3, *size,
                       generator=torch.Generator().manual_seed(seed))


def looks(backbone):
    """How many images the backbone itself has seen."""
    seen = []
    backbone.backbone.register_forward_hook(
        lambda module, inputs, output: seen.extend(inputs[0]))
    return seen


def equal(first, second):
    return len(first) == len(second) and all(
        torch.equal(a, b) for a, b in zip(first, second))


def test_features_are_those_of_the_backbone_in_eval_mode(backbone):
    x = images(3)
    plain = copy.deepcopy(backbone.backbone)  # in eval mode
    with torch.no_grad():
        alone = [torch.cat(m) for m in zip(*(plain(i[None]) for i in x))]
        together = plain(x)
    for mode in (True, False):
        maps = backbone.train(mode)(x)
        assert equal(maps, alone)
        for a, b in zip(maps, together):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        assert not any(m.requires_grad for m in maps)


def test_each_image_is_looked_at_once(backbone):
    x, seen = images(4), looks(backbone)
    first = backbone(x)
    assert len(seen) == 4
    again = backbone(x[[2, 0, 2]])
    assert len(seen) == 4
    assert equal(again, [m[[2, 0, 2]] for m in first])
    # another backbone with the same weights, as the next round builds it
    other = CachedBackbone(TINY)
    other.load_state_dict(backbone.state_dict())
    seen_by_other = looks(other)
    assert equal(other(x), first) and not seen_by_other
    # what was given out may be written to
    other(x)[0].zero_()
    assert equal(other(x), first)


def test_features_do_not_depend_on_what_was_kept_before(backbone):
    x = images(4, seed=1)
    some = backbone(x[1:3])
    assert equal(backbone(x), [
        torch.cat(m) for m in zip(backbone(x[:1]), some, backbone(x[3:]))])


def test_other_weights_have_other_features(backbone):
    x, seen = images(2, seed=2), looks(backbone)
    before = backbone(x)
    with torch.no_grad():
        next(backbone.backbone.parameters()).mul_(2)
    after = backbone(x)
    assert len(seen) == 4 and not torch.equal(before[0], after[0])
    # images of another shape with the same numbers too
    assert backbone(x.reshape(2, 3, 48, 64))[0].shape[-2:] != (
        after[0].shape[-2:])


def test_nothing_is_kept_where_features_are_random_or_differentiated(
        backbone):
    x, seen = images(2, seed=3), looks(backbone)
    leaf = x.clone().requires_grad_()
    backbone(leaf)[0].sum().backward()
    assert leaf.grad.abs().sum() > 0
    backbone.backbone.train()
    backbone(x)
    backbone(x)
    assert len(seen) == 6
    backbone.train()
    backbone(x)
    assert len(seen) == 8 and not backbone.backbone.training


def test_precisions_do_not_share_features():
    """A run that scores in bf16 trains in float32 in its next round."""
    cfg = tiny_fcos_config()
    cfg['backbone'] = dict(type='mmal.CachedBackbone', backbone=TINY)
    model, x = build_detector(cfg).eval(), images(2, seed=6)
    plain = [torch.cat(m) for m in zip(*(
        model.backbone.backbone(i[None]) for i in x))]
    with forward_precision([model], 'bf16'):
        rounded = model.backbone(x)
    assert equal(model.backbone(x), plain) and not equal(rounded, plain)
    model.train().extract_feat(x)
    with forward_precision([model], 'bf16'):
        assert equal(model.backbone(x), rounded)


def test_memory_is_bounded(mmdet_scope):
    made = CachedBackbone(TINY, max_gib=0)
    x, seen = images(1, seed=4), looks(made)
    assert equal(made(x), made(x)) and len(seen) == 2
    with pytest.raises(ValueError, match='max_gib is -1'):
        CachedBackbone(TINY, max_gib=-1)


def test_what_was_not_asked_for_makes_room(backbone, monkeypatch):
    # of its own, which is empty
    monkeypatch.setattr(cached_backbone, '_CACHE',
                        cached_backbone._FeatureCache())
    a, b, c = images(3, seed=5).split(1)
    size = sum(m.numel() * m.element_size() for m in backbone(a))
    backbone.max_bytes = 2 * size
    seen = looks(backbone)
    backbone(b)
    backbone(a)
    backbone(c)  # b goes
    assert len(seen) == 2
    backbone(a)
    backbone(c)
    assert len(seen) == 2
    backbone(b)
    assert len(seen) == 3


def test_a_training_step_leaves_it_as_it_is():
    cfg = tiny_fcos_config()
    cfg['backbone'] = dict(type='mmal.CachedBackbone', backbone=TINY)
    model = build_detector(cfg)
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad], 0.1)
    sample = DetDataSample(metainfo=dict(img_shape=(64, 64)))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[8., 8., 40., 40.]]), labels=torch.tensor([1]))
    losses = model.loss(images(1, size=(64, 64)), [sample])
    sum(v if torch.is_tensor(v) else sum(v) for k, v in losses.items()
        if 'loss' in k).backward()
    optimizer.step()
    changed = {k.split('.')[0] for k, v in model.state_dict().items()
               if not torch.equal(v, before[k])}
    assert changed == {'neck', 'bbox_head'}


def test_the_config_of_the_benchmark_builds_one(mmdet_scope):
    model = MODELS.build(Config.fromfile(osp.join(ROOT, CONFIG)).model)
    assert type(model.backbone).__name__ == 'CachedBackbone'
    assert {p.requires_grad for p in model.backbone.parameters()} == {False}
