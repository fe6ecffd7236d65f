"""Losses of single images, for each kind of detector."""
from functools import partial

import numpy as np
import pytest
import torch
from helpers.tiny_detr import TRANSFORMERS, tiny_detr
from helpers.tiny_faster_rcnn import tiny_faster_rcnn
from helpers.tiny_one_stage import tiny_one_stage
from helpers.tiny_ssd import tiny_ssd
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmal.scoring.batch import Batch
from mmal.scoring.isal.adapters import adapter_of
from mmal.scoring.isal.adapters.two_stage import seeded

SIZE = 96
BOXES = [[20., 24., 40., 50.], [50., 10., 80., 42.]]


def batch_of(*ids):
    images = []
    for i in ids:
        generator = torch.Generator().manual_seed(i)
        images.append(torch.randn(3, SIZE, SIZE, generator=generator))
    shape = dict.fromkeys(
        ('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'),
        (SIZE, SIZE))
    samples = [DetDataSample(metainfo=dict(shape, img_id=i)) for i in ids]
    return Batch(list(ids), torch.stack(images), samples)


def labels_of(boxes):
    return InstanceData(
        bboxes=torch.tensor(boxes).view(-1, 4),
        labels=torch.arange(len(boxes)))


def losses(model, batch, boxes, seed=0):
    detector = adapter_of(model, seed)
    return detector.image_losses(
        detector.forward(batch), batch.samples,
        [labels_of(boxes) for _ in batch.ids])


@pytest.mark.parametrize('build', [
    tiny_faster_rcnn, tiny_ssd, lambda: tiny_one_stage('yolov3'),
    lambda: tiny_one_stage('yolox'), *(partial(tiny_detr, kind)
                                       for kind in TRANSFORMERS)
])
def test_an_image_without_boxes_has_a_finite_loss(build):
    found = losses(build(), batch_of(1, 2), [])
    assert found.shape == (2, )
    assert torch.isfinite(found).all()


def test_regions_are_drawn_by_seed_and_image_id():
    model = tiny_faster_rcnn()
    together = losses(model, batch_of(1, 2), BOXES)
    turned = losses(model, batch_of(2, 1), BOXES)
    torch.testing.assert_close(together, turned.flip(0))
    assert not torch.allclose(together,
                              losses(model, batch_of(1, 2), BOXES, seed=1))


def test_no_random_number_is_used_up():
    states = torch.get_rng_state(), np.random.get_state()
    with seeded(0, 'image'):
        first = torch.rand(1), np.random.rand()
    with seeded(0, 'image'):
        assert first == (torch.rand(1), np.random.rand())
    with seeded(0, 'other'):
        assert first[0] != torch.rand(1)
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1][1], np.random.get_state()[1])


def test_a_gpu_is_not_seeded(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'manual_seed_all', pytest.fail)
    with seeded(0, 'image'):
        pass


def test_predictions_lie_in_the_image():
    model = tiny_one_stage('yolov3')
    detector = adapter_of(model)
    batch = batch_of(1, 2)
    for found in detector.predictions(detector.forward(batch), batch.samples):
        assert len(found)
        assert found.bboxes.min() >= 0 and found.bboxes.max() <= SIZE
