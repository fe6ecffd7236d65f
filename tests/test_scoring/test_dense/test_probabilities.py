"""Dense class probabilities of each kind of head against loops."""
import math

import pytest
import torch
from helpers.dense_heads import (
    HEADS,
    PLAIN,
    HeadAlone,
    by_hand,
    detector,
    features,
)
from helpers.tiny_ssd import tiny_mdn_ssd
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.dense_heads import TOODHead
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import nn

from mmal.models.utils.per_image import head_outputs
from mmal.scoring import class_probabilities
from mmal.scoring.dense.probabilities import check_dense, class_entropy


@torch.no_grad()
@pytest.mark.parametrize('name', HEADS)
def test_probabilities_equal_loops_over_positions(mmdet_scope, name):
    model = detector(name)
    outputs = head_outputs(model, features())
    truth = by_hand(name, model, outputs)
    found = class_probabilities(model, outputs, background=True)
    torch.testing.assert_close(found, truth)
    without = class_probabilities(model, outputs)
    torch.testing.assert_close(without, truth[..., :3])
    assert without.std() > 0.01


@torch.no_grad()
@pytest.mark.parametrize('name', ['retina', 'retina_softmax', 'yolox'])
def test_probabilities_are_the_scores_before_nms(mmdet_scope, name):
    model = detector(name)
    outputs = head_outputs(model, features(1))
    cfg = ConfigDict(score_thr=-1, nms_pre=9999, min_bbox_size=-1)
    meta = dict(img_shape=(32, 48), scale_factor=(1, 1))
    results = model.bbox_head.predict_by_feat(
        *outputs, batch_img_metas=[meta], cfg=cfg, with_nms=False)[0]
    probs = class_probabilities(model, outputs)[0]
    if name == 'yolox':
        probs = probs.amax(-1)
    torch.testing.assert_close(results.scores.sort().values,
                               probs.flatten().sort().values)


@torch.no_grad()
@pytest.mark.parametrize('name', HEADS)
def test_half_precision_is_read_in_single(mmdet_scope, name):
    model = detector(name)
    outputs = head_outputs(model, features())
    halves = [[x.half() for x in level] for level in outputs]
    found = class_probabilities(model, halves)
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found, class_probabilities(model, outputs), atol=5e-3, rtol=0)


@torch.no_grad()
def test_a_head_may_bring_its_own_method(mmdet_scope):
    model = tiny_mdn_ssd()
    outputs = head_outputs(model, torch.randn(2, 3, 64, 64))
    own = model.bbox_head.class_probabilities(*outputs)
    found = class_probabilities(model, outputs, background=True)
    torch.testing.assert_close(found, own)
    torch.testing.assert_close(found.sum(-1), torch.ones(found.shape[:2]))
    assert class_probabilities(model, outputs).shape[-1] == 3


def unsupported():
    gfl = dict(PLAIN, type='GFLHead', norm_cfg=None, anchor_generator=dict(
        type='AnchorGenerator', ratios=[1.0], octave_base_scale=8,
        scales_per_octave=1, strides=[8, 16]))
    yield HeadAlone(MODELS.build(ConfigDict(gfl, _scope_='mmdet')))
    tood = TOODHead.__new__(TOODHead)
    nn.Module.__init__(tood)
    yield HeadAlone(tood)
    seesaw = detector('retina')
    seesaw.bbox_head.loss_cls.custom_cls_channels = True
    yield seesaw
    yield nn.Linear(1, 1)


def test_other_heads_are_an_error_that_names_the_supported(mmdet_scope):
    for model in unsupported():
        with pytest.raises(
                ValueError, match='active_learning.scorer.*RetinaHead, '
                'FCOSHead, ATSSHead, SSDHead, YOLOV3Head, YOLOXHead'):
            check_dense(model)


probs = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(probs, st.booleans())
def test_binary_entropies_are_summed(values, half):
    p = torch.tensor(values, dtype=torch.half if half else torch.float)
    found = class_entropy(p, len(values))
    truth = sum(_entr(x) + _entr(1 - x) for x in p.double().tolist())
    assert float(found) == pytest.approx(truth, rel=1e-4, abs=1e-5)
    assert 0 <= found <= len(values) * math.log(2) + 1e-5


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=6))
def test_with_a_background_it_is_one_distribution(logits):
    p = torch.tensor(logits).softmax(0)
    found = class_entropy(p, len(logits) - 1)
    truth = sum(_entr(x) for x in p.double().tolist())
    assert float(found) == pytest.approx(truth, rel=1e-4, abs=1e-5)
    assert 0 <= found <= math.log(len(logits)) + 1e-5


def test_no_position_has_no_entropy():
    assert class_entropy(torch.zeros(2, 0, 4), 3).shape == (2, 0)


def _entr(p):
    return -p * math.log(p) if p > 0 else 0.0
