"""Losses of single images against mmdet's own loss, one image at a time."""
import pytest
import torch
from helpers.tiny import tiny_fcos
from helpers.waits import Waits
from hypothesis import given
from hypothesis import strategies as st
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmal.models.utils.per_image import head_outputs, image_losses
from mmal.scoring.detector import (
    KINK,
    class_boxes,
    clipped,
    predictions,
    pseudo_labels,
    twice_differentiable,
)
from mmal.scoring.isal.adapters import adapter_of

SIZE = (64, 96)


def batch(seed=0, boxes=(2, 0, 5)):
    g = torch.Generator().manual_seed(seed)
    inputs = torch.randn(len(boxes), 3, *SIZE, generator=g)
    samples = []
    for n in boxes:
        corner = torch.rand(n, 2, generator=g) * 40
        size = 8 + torch.rand(n, 2, generator=g) * 24
        sample = DetDataSample(
            metainfo=dict(
                img_shape=SIZE, pad_shape=SIZE, scale_factor=(1., 1.)))
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + size], 1),
            labels=torch.randint(3, (n, ), generator=g))
        samples.append(sample)
    return inputs, samples


@pytest.mark.parametrize('norm_on_bbox', [True, False])
def test_loss_is_the_one_an_image_has_alone(norm_on_bbox):
    model = tiny_fcos()
    model.bbox_head.norm_on_bbox = norm_on_bbox
    if not norm_on_bbox:
        model.bbox_head.conv_reg.bias.data.fill_(2.)
    inputs, samples = batch()
    losses = image_losses(model, head_outputs(model, inputs), samples,
                          [s.gt_instances for s in samples])
    # mmdet's loss with the training-time scale of the outputs, but with the
    # statistics of eval mode: only the head itself is in training mode
    model.bbox_head.training = True
    for i, sample in enumerate(samples):
        terms = model.loss(inputs[i:i + 1], [sample])
        expected = model.parse_losses(terms)[0]
        torch.testing.assert_close(losses[i], expected, rtol=1e-5, atol=1e-6)


def test_ignored_boxes_reach_the_loss_of_heads_that_take_them():
    model = tiny_fcos()
    inputs, samples = batch(boxes=(1, ))
    seen = []
    original = model.bbox_head.loss_by_feat

    def spy(*args, batch_gt_instances_ignore=None, **kwargs):
        seen.append(batch_gt_instances_ignore)
        return original(*args, **kwargs)

    model.bbox_head.loss_by_feat = spy
    samples[0].ignored_instances = InstanceData(bboxes=torch.zeros(1, 4))
    image_losses(model, head_outputs(model, inputs), samples,
                 [samples[0].gt_instances])
    assert seen[0][0].bboxes.shape == (1, 4)


@given(st.lists(st.lists(st.tuples(
    st.floats(0, 1, width=32), st.integers(0, 4)), max_size=9), max_size=4))
def test_boxes_of_a_class_are_the_sum_of_its_scores(images):
    detections = [InstanceData(
        scores=torch.tensor([score for score, _ in image]),
        labels=torch.tensor([label for _, label in image], dtype=torch.long))
        for image in images]
    sums = class_boxes(detections, 5)
    assert sums.shape == (len(images), 5)
    for row, image in zip(sums.tolist(), images):
        assert row == pytest.approx([
            sum(score for score, label in image if label == c)
            for c in range(5)])


def test_predictions_are_those_of_the_detector():
    model = tiny_fcos()
    inputs, samples = batch()
    found = predictions(model, head_outputs(model, inputs), samples)
    with torch.no_grad():
        expected = model.predict(inputs, samples, rescale=False)
    for a, b in zip(found, expected):
        torch.testing.assert_close(a.bboxes, b.pred_instances.bboxes)
        torch.testing.assert_close(a.scores, b.pred_instances.scores)


def test_pseudo_labels_keep_sure_boxes_with_an_area():
    detections = InstanceData(
        bboxes=torch.tensor([[0., 0, 4, 4], [1, 1, 1, 5], [0, 0, 9, 9]]),
        scores=torch.tensor([0.1, 0.9, 0.09]),
        labels=torch.tensor([2, 1, 0]))
    kept, = pseudo_labels([detections], 0.1)
    assert kept.labels.tolist() == [2]
    assert 'scores' not in kept
    assert pseudo_labels([], 0.1) == []


@given(st.lists(st.integers(0, 6), max_size=4), st.integers(0, 2**20))
def test_pseudo_labels_are_those_of_a_mask_in_its_order(counts, seed):
    g = torch.Generator().manual_seed(seed)
    detections = []
    for n in counts:
        corner = torch.rand(n, 2, generator=g)
        detections.append(InstanceData(
            bboxes=torch.cat(
                [corner, corner + torch.rand(n, 2, generator=g) * 0.2], 1),
            scores=torch.rand(n, generator=g),
            labels=torch.arange(n)))
    with Waits() as waits:
        labels = pseudo_labels(detections, 0.4)
    assert waits.names == []  # but for one transfer of the batch
    for d, label in zip(detections, labels):
        thick = (d.bboxes[:, 2:] - d.bboxes[:, :2] > 4 * KINK).all(1)
        keep = thick & (d.scores >= 0.4)
        assert torch.equal(label.bboxes, d.bboxes[keep])
        assert torch.equal(label.labels, d.labels[keep])


def test_boxes_are_clipped_to_the_image():
    boxes = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) * 9
    limits = torch.tensor([8., 5, 8, 5])
    detections = clipped(InstanceData(bboxes=boxes), (5, 8, 3))
    assert torch.equal(detections.bboxes, boxes.clamp(min=0).minimum(limits))
    empty = clipped(InstanceData(bboxes=boxes[:0]), (5, 8))
    assert empty.bboxes.shape == (0, 4)


def test_twice_differentiable_gives_the_same_loss_and_restores():
    model = tiny_fcos()
    inputs, samples = batch()
    labels = [s.gt_instances for s in samples]
    before = image_losses(model, head_outputs(model, inputs), samples, labels)
    with twice_differentiable(model.bbox_head):
        assert 'forward' in vars(model.bbox_head.loss_cls)
        inside = image_losses(model, head_outputs(model, inputs), samples,
                              labels)
    torch.testing.assert_close(before, inside)
    assert 'forward' not in vars(model.bbox_head.loss_cls)


def test_other_models_are_refused():
    with pytest.raises(ValueError, match='Linear is neither a single-stage'):
        adapter_of(torch.nn.Linear(1, 1))
