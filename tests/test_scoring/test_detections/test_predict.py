"""Final detections of one- and two-stage detectors."""
import math
from types import SimpleNamespace

import pytest
import torch
from helpers.tiny import tiny_fcos
from helpers.tiny_faster_rcnn import tiny_faster_rcnn
from helpers.tiny_ssd import tiny_ssd
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import nn

from mmal.scoring.batch import Batch
from mmal.scoring.detections.predict import (
    confident,
    detect,
    detection_entropy,
    padded,
)
from mmal.scoring.detector import dummy_batch, final_head


def make_batch(images=2):
    torch.manual_seed(3)
    shape = (64, 96)
    samples = []
    for i in range(images):
        sample = DetDataSample(metainfo=dict(
            img_id=i, img_shape=shape, ori_shape=(32, 48), pad_shape=shape,
            batch_input_shape=shape, scale_factor=(2.0, 2.0)))
        sample.gt_instances = InstanceData(bboxes=torch.zeros(0, 4))
        samples.append(sample)
    return Batch(list(range(images)), torch.randn(images, 3, *shape), samples)


@pytest.mark.parametrize('build', [tiny_fcos, tiny_ssd, tiny_faster_rcnn])
def test_boxes_are_in_the_coordinates_of_the_input(mmdet_scope, build):
    model, batch = build(), make_batch()
    found = detect(model, batch)
    with torch.no_grad():
        rescaled = model.predict(batch.inputs, make_batch().samples)
    assert sum(map(len, found)) > 0
    for ours, theirs in zip(found, rescaled):
        theirs = theirs.pred_instances
        torch.testing.assert_close(ours.bboxes, 2 * theirs.bboxes)
        torch.testing.assert_close(ours.scores, theirs.scores)
        assert ours.labels.tolist() == theirs.labels.tolist()


@pytest.mark.parametrize('build', [tiny_fcos, tiny_faster_rcnn])
def test_the_samples_of_the_batch_stay_as_they_are(mmdet_scope, build):
    batch, before = make_batch(), make_batch()
    detect(build(), batch)
    for sample, original in zip(batch.samples, before.samples):
        assert sample.keys() == original.keys() == ['gt_instances']
        assert sample.metainfo == original.metainfo


@pytest.mark.parametrize('build', [tiny_fcos, tiny_faster_rcnn])
def test_no_gradient_is_recorded(mmdet_scope, build):
    for found in detect(build(), make_batch()):
        assert not found.scores.requires_grad


@pytest.mark.parametrize('build', [tiny_fcos, tiny_ssd, tiny_faster_rcnn])
def test_a_blank_image_suits_the_detector(mmdet_scope, build):
    model = build()
    batch = dummy_batch(model, box=False)
    assert len(detect(model, batch)) == 1
    assert batch.samples[0].keys() == []


def test_the_blank_image_has_the_size_of_ssd():
    model = tiny_ssd()
    model.bbox_head.prior_generator.input_size = 300
    assert dummy_batch(model, box=False).inputs.shape[-2:] == (300, 300)


def test_the_final_head_is_the_last_stage(mmdet_scope):
    model = tiny_faster_rcnn()
    assert final_head(model) is model.roi_head.bbox_head
    stages = nn.ModuleList([nn.Identity(), nn.ReLU()])
    cascade = SimpleNamespace(roi_head=SimpleNamespace(bbox_head=stages))
    assert final_head(cascade) is stages[1]
    with pytest.raises(ValueError, match='Identity has neither bbox_head'):
        final_head(nn.Identity())


def instances(scores, **fields):
    return InstanceData(
        scores=torch.tensor(scores),
        **{k: torch.tensor(v) for k, v in fields.items()})


def test_images_without_detections_need_no_fields():
    found = [instances([]), instances([.9, .2], extra=[[1., 2.], [3., 4.]])]
    assert padded(found, 'extra').tolist() == [
        [[0., 0.], [0., 0.]], [[1., 2.], [3., 4.]]]
    assert padded(found, 'other') is None
    assert confident(found, .2).tolist() == [[False, False], [True, True]]
    assert confident(found, .5).tolist() == [[False, False], [True, False]]
    assert confident([instances([])], 0).shape == (1, 0)


def test_gaps_never_count():
    found = [instances([0.]), instances([0., 0.])]
    assert confident(found, 0).tolist() == [[True, False], [True, True]]


def test_entropy_of_detections_by_hand():
    found = [instances([.5]), instances([.9, 1.])]
    two = -.9 * math.log(.9) - .1 * math.log(.1)
    torch.testing.assert_close(
        detection_entropy(found, 3),
        torch.tensor([[math.log(2), 0.], [two, 0.]]))


@pytest.mark.parametrize('classes, truth', [(2, math.log(3)),
                                            (3, 3 * math.log(3) - 2 *
                                             math.log(2))])
def test_class_probabilities_come_before_scores(classes, truth):
    """With two classes the third is the background."""
    found = [instances([.9], class_probs=[[1 / 3] * 3])]
    entropy = detection_entropy(found, classes)
    torch.testing.assert_close(entropy, torch.tensor([[truth]]))
