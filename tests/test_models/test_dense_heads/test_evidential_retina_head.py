"""The evidential head against RetinaNet and against loops."""
import math

import pytest
import torch
from helpers.tiny_evidential import tiny_evidential
from helpers.tiny_one_stage import tiny_one_stage
from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss
from mmengine.structures import InstanceData
from torch import nn

from mmal.models.layers.log_odds import softmax_log_odds
from mmal.models.utils import flatten_levels, head_outputs, last_layers
from mmal.recorder import is_hooked
from mmal.scoring import class_probabilities
from mmal.scoring.detector import dummy_batch

CLASSES, SIZE = 3, 64


def batch(boxes=(2, 1), seed=0):
    rng = torch.Generator().manual_seed(seed)
    inputs = torch.randn(len(boxes), 3, SIZE, SIZE, generator=rng)
    samples = []
    for n in boxes:
        sample = dummy_batch(nn.Linear(1, 1), SIZE).samples[0]
        corner = torch.rand(n, 2, generator=rng) * 35
        side = 12 + torch.rand(n, 2, generator=rng) * 15
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + side], 1),
            labels=torch.randint(CLASSES, (n, ), generator=rng))
        samples.append(sample)
    return inputs, samples


@pytest.fixture(scope='module', params=[True, False])
def model(request):
    return tiny_evidential(background=request.param)


def softmaxes(model, inputs):
    """[B, P, C] from what the last layer gives, by its channels."""
    head, images = model.bbox_head, []
    with torch.no_grad():
        for x in model.extract_feat(inputs):
            for conv in head.cls_convs:
                x = conv(x)
            raw = head.retina_cls(x)
            images.append([
                z[:, y, x].softmax(0)[None]
                for image in raw for y in range(image.shape[1])
                for x in range(image.shape[2])
                for z in image.chunk(head.num_base_priors)])
    per_level = [torch.cat(level).unflatten(0, (len(inputs), -1))
                 for level in images]
    return torch.cat(per_level, 1)


def test_scores_are_a_softmax(model):
    inputs, samples = batch()
    with torch.no_grad():
        outputs = head_outputs(model, inputs)
    expected = softmaxes(model, inputs)
    assert expected.shape[-1] == CLASSES + model.bbox_head.background
    torch.testing.assert_close(
        class_probabilities(model, outputs, background=True), expected)
    logits = flatten_levels(outputs[0], CLASSES)
    torch.testing.assert_close(logits.sigmoid(), expected[..., :CLASSES])
    found = model.predict(inputs, samples, rescale=False)
    scores = torch.cat([f.pred_instances.scores for f in found])
    assert len(scores) and torch.isin(
        (scores * 1e4).round(), (expected * 1e4).round().unique()).all()


def test_losses_are_those_of_the_probabilities(model):
    """Focal loss of p, and the evidence head learns it, anchor by anchor."""
    inputs, samples = batch()
    losses = model.train().loss(inputs, samples)
    head, feats = model.bbox_head, model.extract_feat(inputs)
    outputs = head(feats)
    targets = head.get_targets(
        *head.get_anchors([x.shape[-2:] for x in outputs[0]],
                          [s.metainfo for s in samples], device='cpu'),
        [s.gt_instances for s in samples], [s.metainfo for s in samples])
    labels, weights, number = targets[0], targets[1], targets[-1]
    predicted = head.predicted_losses(feats)
    model.eval()
    assert number > 5
    for level in range(len(outputs[0])):
        logits = flatten_levels([outputs[0][level]], CLASSES).flatten(0, 1)
        of_anchors = flatten_levels([predicted[level]], 1).flatten()
        focal, evidence = 0., 0.
        for z, guess, label, weight in zip(
                logits, of_anchors, labels[level].flatten(),
                weights[level].flatten()):
            target = (torch.arange(CLASSES) == label).long()
            own = float(py_sigmoid_focal_loss(
                z.detach(), target, reduction='sum'))
            focal += float(weight) * own
            if label < CLASSES:
                evidence += (float(guess) - own)**2
        assert float(losses['loss_cls'][level]) == pytest.approx(
            focal / number, rel=1e-4)
        assert float(losses['loss_evidence'][level]) == pytest.approx(
            evidence / number, rel=1e-4)


def test_the_evidence_head_leaves_the_detector_alone(model):
    own = [p for n, p in model.named_parameters() if 'evidence' in n]
    others = [p for n, p in model.named_parameters() if 'evidence' not in n]
    model.train()
    losses = model.loss(*batch())
    assert not is_hooked(model.bbox_head.loss_cls)
    grads = torch.autograd.grad(
        sum(losses['loss_evidence']), own + others, allow_unused=True)
    model.eval()
    assert all(g is not None and g.abs().sum() > 0 for g in grads[:len(own)])
    assert all(g is None for g in grads[len(own):])
    assert not [n for n in last_layers(model) if 'evidence' in n]
    assert 'loss_evidence' not in model.loss(*batch())


def test_without_an_object_there_is_no_evidence_loss(model):
    model.train()
    losses = model.loss(*batch((0, 0)))
    model.eval()
    assert all(float(x) == 0 for x in losses['loss_evidence'])


def test_without_background_it_is_retinanet_and_convolutions():
    plain = tiny_one_stage('retina')
    ours = tiny_evidential(background=False)
    missing = ours.load_state_dict(plain.state_dict(), strict=False)
    assert not missing.unexpected_keys
    assert all('evidence' in n for n in missing.missing_keys)
    inputs, _ = batch()
    with torch.no_grad():
        logits = flatten_levels(head_outputs(plain, inputs)[0], CLASSES)
        probs = class_probabilities(ours, head_outputs(ours, inputs))
    torch.testing.assert_close(probs, logits.softmax(-1))


@pytest.mark.parametrize('num_classes', [1, 3, 400])
def test_classes_start_improbable(num_classes):
    from mmdet.registry import MODELS
    head = MODELS.build(dict(
        type='mmal.EvidentialRetinaHead', num_classes=num_classes,
        in_channels=4, feat_channels=4, stacked_convs=1))
    head.init_weights()
    probs = head.class_probabilities(*head([torch.zeros(1, 4, 8, 8)] * 5))
    prior = min(.01, .5 / num_classes)
    torch.testing.assert_close(
        probs[..., :-1], torch.full_like(probs[..., :-1], prior))
    assert float(probs[..., -1].min()) >= .5 - 1e-4
    before = head.retina_cls.bias.clone().fill_(math.pi)
    head.retina_cls.bias.data.copy_(before)
    head.init_weights()
    assert torch.equal(head.retina_cls.bias, before)


def test_convolutions_of_the_evidence_head():
    head = tiny_evidential(evidence_convs=3).bbox_head
    assert len(head.evidence_convs) == 3
    outputs = tiny_evidential(evidence_convs=0).bbox_head.predicted_losses(
        [torch.randn(2, 16, 4, 5)])
    assert outputs[0].shape == (2, 4, 4, 5) and outputs[0].min() > 0


@pytest.mark.parametrize('head, message', [
    (dict(num_classes=1, background=False), 'num_classes is 1'),
    (dict(loss_cls=dict(type='CrossEntropyLoss')), 'sigmoids')])
def test_wrong_options(head, message):
    with pytest.raises(ValueError, match=message):
        tiny_evidential(**head)


@pytest.mark.parametrize('classes, floor', [(3, .101), (20, .0019)])
def test_a_softmax_without_background_has_a_floor(classes, floor):
    """The least focal loss where nothing is, as the docs say."""
    logits = torch.zeros(1, classes, dtype=torch.double, requires_grad=True)

    def focal(z):
        return py_sigmoid_focal_loss(
            softmax_log_odds(z), torch.zeros(1, classes), reduction='sum')

    at_equal = focal(logits)
    assert float(at_equal.detach()) == pytest.approx(
        .75 / classes * math.log(classes / (classes - 1)))
    assert float(at_equal.detach()) == pytest.approx(floor, rel=.02)
    grad, = torch.autograd.grad(at_equal, logits)
    assert grad.abs().max() < 1e-9
    rng = torch.Generator().manual_seed(0)
    for _ in range(20):
        assert focal(torch.randn(1, classes, generator=rng)) > at_equal
