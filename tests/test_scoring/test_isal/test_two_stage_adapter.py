"""Losses of Faster R-CNN for all images at once, against image by image."""
import logging

import pytest
import torch
from helpers.random_labels import random_labels
from helpers.tiny import build_detector
from helpers.tiny_faster_rcnn import tiny_faster_rcnn, tiny_faster_rcnn_config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmdet.models.roi_heads import StandardRoIHead
from mmengine.logging import MMLogger

from mmal.scoring.batch import Batch
from mmal.scoring.isal.adapters import adapter_of, two_stage

SIZE = 64
BUILD = dict(
    plain=tiny_faster_rcnn,
    class_agnostic=lambda: tiny_faster_rcnn(reg_class_agnostic=True),
    corners=lambda: tiny_faster_rcnn(
        reg_decoded_bbox=True, loss_bbox=dict(type='GIoULoss')))


@pytest.fixture(scope='module')
def models():
    return {name: build().double() for name, build in BUILD.items()}


def make(counts, ignored, seed):
    """A batch with so many boxes each, and boxes to leave out."""
    generator = torch.Generator().manual_seed(seed)
    samples, labels = random_labels(counts, ignored, SIZE, generator, least=4)
    for sample, label in zip(samples, labels):
        label.bboxes = label.bboxes.double()
        if 'ignored_instances' in sample:
            left_out = sample.ignored_instances
            left_out.bboxes = left_out.bboxes.double()
    x = torch.randn(len(counts), 3, SIZE, SIZE, generator=generator).double()
    return Batch(list(range(len(counts))), x, samples), labels


def one_by_one(function, *args):
    with pytest.MonkeyPatch.context() as m:
        m.setattr(two_stage, 'takes_regions', lambda head: False)
        return function(*args)


@pytest.mark.parametrize('name', BUILD)
@settings(deadline=None, max_examples=8,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counts=st.lists(st.integers(0, 4), min_size=1, max_size=3),
       ignored=st.lists(st.none() | st.integers(0, 2), min_size=3,
                        max_size=3),
       seed=st.integers(0, 10**6))
def test_losses_are_those_of_each_image_alone(
        name, models, mmdet_scope, counts, ignored, seed):
    model = models[name]
    batch, labels = make(counts, ignored, seed)
    adapter = adapter_of(model, seed=3)
    assert adapter.takes_batches()
    params = [p for head in (model.rpn_head, model.roi_head)
              for p in head.parameters()]
    for function in (adapter.image_losses, adapter.pseudo_label_losses):
        found = []
        for how in (lambda f, *a: f(*a), one_by_one):
            losses = how(function, adapter.forward(batch), batch.samples,
                         labels)
            weights = torch.arange(1., len(losses) + 1)
            grads = torch.autograd.grad((losses * weights).sum(), params,
                                        allow_unused=True)
            found.append((losses, [torch.zeros(()) if g is None else g
                                   for g in grads]))
        (losses, grads), (expected, expected_grads) = found
        assert losses.shape == (len(counts), )
        torch.testing.assert_close(losses, expected, rtol=1e-6, atol=1e-6)
        for grad, other in zip(grads, expected_grads):
            assert (grad - other).abs().max() <= 1e-6 * max(
                1, float(other.abs().max()))


def test_the_second_stage_runs_once(models, mmdet_scope, monkeypatch):
    model, calls = models['plain'], []
    whole = StandardRoIHead._bbox_forward
    monkeypatch.setattr(
        StandardRoIHead, '_bbox_forward', lambda self, features, rois:
        calls.append(len(rois)) or whole(self, features, rois))
    batch, labels = make([2, 0, 3], [None] * 3, 0)
    adapter = adapter_of(model)
    adapter.pseudo_label_losses(adapter.forward(batch), batch.samples, labels)
    assert len(calls) == 1


def test_samplers_are_put_back_and_no_random_number_is_used_up(
        models, mmdet_scope, monkeypatch):
    model, state = models['plain'], torch.get_rng_state()
    sampler = model.rpn_head.sampler
    batch, labels = make([2, 1], [None] * 2, 0)
    adapter = adapter_of(model)
    outputs = adapter.forward(batch)
    adapter.image_losses(outputs, batch.samples, labels)
    assert model.rpn_head.sampler is sampler
    assert torch.equal(state, torch.get_rng_state())

    monkeypatch.setattr(sampler, 'sample', lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        adapter.image_losses(outputs, batch.samples, labels)
    assert model.rpn_head.sampler is sampler
    assert torch.equal(state, torch.get_rng_state())


def test_heads_that_may_sum_up_otherwise_go_image_by_image(mmdet_scope):
    class Other(StandardRoIHead):
        pass

    model = tiny_faster_rcnn()
    assert adapter_of(model).takes_batches()
    model.roi_head.__class__ = Other
    assert not adapter_of(model).takes_batches()
    model = tiny_faster_rcnn(type='mmal.MDNShared2FCBBoxHead',
                             cls_components=2, box_components=2)
    assert not adapter_of(model).takes_batches()
    model = tiny_faster_rcnn()
    model.rpn_head.loss_bbox.forward = model.rpn_head.loss_bbox.forward
    assert not adapter_of(model).takes_batches()


def test_a_mask_head_is_said_to_be_left_out_once(mmdet_scope):
    two_stage._warn_of_masks.cache_clear()
    config = tiny_faster_rcnn_config()
    config['type'] = 'MaskRCNN'
    config['roi_head'].update(
        mask_roi_extractor=config['roi_head']['bbox_roi_extractor'],
        mask_head=dict(
            type='FCNMaskHead', num_convs=1, in_channels=16,
            conv_out_channels=16, num_classes=3))
    model, plain = build_detector(config).eval(), tiny_faster_rcnn()
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        adapter_of(plain)
        assert not records
        for _ in range(2):
            adapter_of(model)
    finally:
        logger.removeHandler(handler)
    record, = records
    assert record.levelno == logging.WARNING
    assert 'loss of the mask head is left out' in record.getMessage()
