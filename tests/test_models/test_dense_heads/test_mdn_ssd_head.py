"""MDN-SSD against loops over anchors, and against mmdet's SSD."""
import math

import numpy as np
import pytest
import torch
from helpers.tiny_ssd import tiny_mdn_ssd, tiny_ssd
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData
from torch.nn import functional as F

from mmal.models.utils.per_image import head_outputs
from mmal.scoring.detector import dummy_batch

SIZE = 96


def batch(images=2, seed=0, boxes=2):
    """Random images with random boxes."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(images, 3, SIZE, SIZE, generator=generator)
    samples = []
    for _ in range(images):
        sample = dummy_batch(torch.nn.Linear(1, 1), SIZE).samples[0]
        corner = torch.rand(boxes, 2, generator=generator) * 60
        side = 10 + torch.rand(boxes, 2, generator=generator) * 25
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + side], 1),
            labels=torch.randint(3, (boxes, ), generator=generator))
        samples.append(sample)
    return inputs, samples


def ssd300(**head):
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    register_all_modules(init_default_scope=False)
    cfg = Config.fromfile('configs/_base_/models/ssd300_vgg16.py').model
    cfg.backbone.init_cfg = None
    cfg.bbox_head.update(head)
    with torch.device('meta'):
        return MODELS.build(ConfigDict(cfg.to_dict(), _scope_='mmdet'))


MDN = dict(type='mmal.MDNSSDHead')


@pytest.mark.parametrize('head, millions', [
    (dict(type='mmal.SSDHead'), 26.285),
    (dict(MDN), 52.350),
    (dict(MDN, box_components=2, cls_components=2), 37.647),
    (dict(MDN, box_components=8, cls_components=8), 81.755),
    (dict(MDN, cls_variance=False), 41.122),
    (dict(MDN, box_components=1, cls_components=1), 30.295),
    (dict(MDN, cls_components=0), 32.167),
    (dict(MDN, box_components=0), 46.468),
])
def test_parameters_are_the_papers(head, millions):
    """Tables 4 and 10 of the paper: 26.3, 52.3, 37.6, 81.8 and 41.1 M.

    The ablations of table 1 are those of docs/mdn.md.
    """
    model = ssd300(**head)
    number = sum(p.numel() for p in model.parameters())
    assert round(number / 1e6, 3) == millions


def test_without_components_it_is_ssd():
    plain = tiny_ssd()
    mdn = tiny_mdn_ssd(components=0)
    mdn.load_state_dict(plain.state_dict())
    inputs, samples = batch()
    for model in (plain, mdn):
        model.train()
        losses = model.loss(inputs, samples)
        model.total = sum(
            sum(v) if isinstance(v, list) else v for v in losses.values())
        model.eval()
        with torch.no_grad():
            model.found = model.predict(inputs, samples, rescale=False)
    assert torch.allclose(plain.total, mdn.total, rtol=1e-5)
    for a, b in zip(plain.found, mdn.found):
        a, b = a.pred_instances, b.pred_instances
        assert len(a) and torch.equal(a.labels, b.labels)
        assert torch.allclose(a.bboxes, b.bboxes)
        assert torch.allclose(a.scores, b.scores)


def rows(levels, channels):
    """[B, P, channels] by explicit loops over positions and anchors."""
    out = []
    for image in range(len(levels[0])):
        flat = []
        for level in levels:
            priors = level.shape[1] // channels
            for y in range(level.shape[2]):
                for x in range(level.shape[3]):
                    for a in range(priors):
                        flat.append(level[image, a * channels:(a + 1) *
                                          channels, y, x])
        out.append(torch.stack(flat))
    return torch.stack(out)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def box_loss(raw, target, k, beta):
    """Eq. 3 of one box; raw [12 k] holds means, variances and weights."""
    raw = raw.double().view(3, k, 4)
    total = 0.0
    for b in range(4):
        exps = [math.exp(raw[2, j, b]) for j in range(k)]
        p = mean = square = 0.0
        for j in range(k):
            var = sigmoid(raw[1, j, b])
            z = (target[b].item() - raw[0, j, b].item())**2 / var
            p += exps[j] / sum(exps) * math.exp(-z / 2) / math.sqrt(
                2 * math.pi * var)
            share, mu = exps[j] / sum(exps), raw[0, j, b].item()
            mean, square = mean + share * mu, square + share * (mu**2 + var)
        total -= math.log(p) * (square - mean**2)**beta
    return total


def class_loss(raw, label, k, c, variance, noise):
    """Eq. 5 of one anchor."""
    raw = raw.double()
    logits = raw[:k * c].view(k, c)
    if variance and noise is not None:
        logits = logits + raw[k * c:2 * k * c].view(
            k, c).sigmoid().sqrt() * noise.double()
    weights = raw[-k:].exp() / raw[-k:].exp().sum()
    total = 0.0
    for j in range(k):
        log_sum = math.log(sum(math.exp(v) for v in logits[j]))
        total -= weights[j].item() * (logits[j, label].item() - log_sum)
    return total


def factor(box, cls, label, k, c):
    """Eq. 9 of one positive, alpha = 4."""
    raw = box.double().view(3, k, 4)
    weights = raw[2].softmax(0)
    u_loc = (weights * raw[1].sigmoid()).sum(0).mean().item()
    p = cls[:k * c].double().view(k, c).softmax(1)[:, label]
    u_r = (cls[-k:].double().softmax(0) * (p - p**2)).sum().item()
    return (1 - u_loc) / (1 + u_r)**4


@pytest.mark.parametrize('head', [
    dict(components=2),
    dict(components=1, mining_noise=True),
    dict(components=2, loss_bbox=dict(type='mmal.MixtureNLLLoss', beta=0.0)),
    dict(components=2, min_iou=0.5),
    dict(components=3, cls_variance=False, weighting=dict()),
    dict(components=2, cls_variance=False, weighting=dict(box=False)),
    dict(components=2, weighting=dict(box=False), min_iou=0.6),
])
def test_losses_equal_loops_over_anchors(head):
    model = tiny_mdn_ssd(**head).train()
    k, c = head['components'], 4
    variance = head.get('cls_variance', True)
    beta = head.get('loss_bbox', {}).get('beta', 0.5)
    factor_of_nll = 1.0 if 'loss_bbox' in head else 0.3
    inputs, samples = batch()
    torch.manual_seed(0)
    losses = model.bbox_head.loss(model.extract_feat(inputs), samples)
    with torch.no_grad():
        outputs = head_outputs(model, inputs)
    cls = rows(outputs[0], model.bbox_head.cls_output.channels)
    box = rows(outputs[1], model.bbox_head.box_output.channels)
    assert cls.shape[1] == 756
    # with noise that negatives are mined by, it is drawn for all anchors
    torch.manual_seed(0)
    noise = torch.randn(2, 756, k, c) if head.get('mining_noise') else None
    chosen, positive = [], {}
    for i, sample in enumerate(samples):
        labels, targets, ious = matched(model, sample)
        mined = [
            class_loss(cls[i, a], labels[a], k, c, variance,
                       None if noise is None else noise[i, a])
            for a in range(len(labels))
        ]
        pos = [a for a in range(len(labels)) if labels[a] < 3]
        neg = sorted((a for a in range(len(labels)) if labels[a] == 3),
                     key=lambda a: -mined[a])[:3 * len(pos)]
        chosen += sorted((i, a, labels[a]) for a in pos + neg)
        positive.update({(i, a): (targets[a], ious[a]) for a in pos})
    if noise is None and variance:  # else for those that are trained
        torch.manual_seed(0)
        drawn = dict(zip([c[:2] for c in chosen],
                         torch.randn(len(chosen), k, c)))
    expected_cls = expected_box = 0.0
    for i, a, label in chosen:
        w = wb = 1.0
        if (i, a) in positive:
            target, iou = positive[i, a]
            if 'weighting' in head:
                w = factor(box[i, a], cls[i, a], label, k, c)
            wb = 1.0 if head.get('weighting') == dict(box=False) else w
            if iou <= head.get('min_iou', 0):
                w = wb = 0.0
            expected_box += wb * box_loss(box[i, a], target, k, beta)
        own = None
        if variance:
            own = drawn[i, a] if noise is None else noise[i, a]
        expected_cls += w * class_loss(cls[i, a], label, k, c, variance, own)
    assert len(positive) >= 4
    if head.get('min_iou'):
        below = [iou <= head['min_iou'] for _, iou in positive.values()]
        assert any(below) and not all(below)
    assert losses['loss_cls'].item() == pytest.approx(
        expected_cls / len(positive), rel=1e-4)
    assert losses['loss_bbox'].item() == pytest.approx(
        factor_of_nll * expected_box / len(positive), rel=1e-4)


def matched(model, sample):
    """Labels (background 3), deltas, IoUs of anchors, one box at a time."""
    head = model.bbox_head
    anchors = torch.cat(
        head.prior_generator.grid_priors([(12, 12), (6, 6), (3, 3)],
                                         device='cpu'))
    boxes = sample.gt_instances.bboxes
    labels = [3] * len(anchors)
    targets = [None] * len(anchors)
    iou = torch.stack([_iou(anchors, box) for box in boxes])
    owner = torch.where(iou.max(0).values >= 0.5, iou.argmax(0), -1)
    for b in range(len(boxes)):  # the best anchor of each box
        owner[iou[b].argmax()] = b
    for a in (owner >= 0).nonzero().flatten().tolist():
        labels[a] = sample.gt_instances.labels[owner[a]].item()
        targets[a] = _delta(anchors[a], boxes[owner[a]])
    ious = [iou[max(owner[a], 0), a].item() for a in range(len(anchors))]
    return labels, targets, ious


def _iou(anchors, box):
    lt = torch.maximum(anchors[:, :2], box[:2])
    rb = torch.minimum(anchors[:, 2:], box[2:])
    inter = (rb - lt).clamp(min=0).prod(1)
    area = (anchors[:, 2:] - anchors[:, :2]).prod(1)
    return inter / (area + (box[2:] - box[:2]).prod() - inter)


def _delta(anchor, box):
    """g of eq. 3, divided by the coder's stds."""
    a_size, b_size = anchor[2:] - anchor[:2], box[2:] - box[:2]
    offset = ((box[2:] + box[:2]) - (anchor[2:] + anchor[:2])) / 2 / a_size
    return torch.cat([offset / 0.1, (b_size / a_size).log() / 0.2])


@pytest.mark.parametrize('head', [
    dict(components=3),
    dict(components=2, cls_variance=False),
])
def test_uncertainties_stay_with_their_boxes(head):
    model = tiny_mdn_ssd(**head)
    k, c = head['components'], 4
    inputs, samples = batch(images=1)
    with torch.no_grad():
        outputs = head_outputs(model, inputs)
        found = model.predict(inputs, samples, rescale=False)[0].pred_instances
    cls = rows(outputs[0], model.bbox_head.cls_output.channels)[0].double()
    box = rows(outputs[1], model.bbox_head.box_output.channels)[0].double()
    each = cls[:, :k * c].view(-1, k, c).softmax(-1)
    weights = cls[:, -k:].softmax(-1)[..., None]
    probs = (weights * each).sum(1)
    means, variances, raw = box.view(-1, 3, k, 4).unbind(1)
    box_weights = raw.softmax(1)
    mean = (box_weights * means).sum(1)
    anchors = torch.cat(
        model.bbox_head.prior_generator.grid_priors([(12, 12), (6, 6),
                                                     (3, 3)], device='cpu'))
    decoded = model.bbox_head.bbox_coder.decode(
        anchors.double(), mean, max_shape=(SIZE, SIZE))
    assert len(found) > 3
    for i in range(len(found)):
        a = (probs - found.class_probs[i]).abs().sum(1).argmin()
        label = found.labels[i]
        p = each[a]
        spread = p - p**2 if 'cls_variance' in head else \
            cls[a, k * c:2 * k * c].view(k, c).sigmoid()
        al = (weights[a] * spread).sum(0)[label]
        ep = (weights[a] * (p - probs[a])**2).sum(0)[label]
        close(found.bboxes[i], decoded[a], 1e-3)
        close(found.scores[i], probs[a, label])
        close(found.cls_aleatoric[i], al)
        close(found.cls_epistemic[i], ep)
        close(found.box_aleatoric[i],
              (box_weights[a] * variances[a].sigmoid()).sum(0))
        close(found.box_epistemic[i],
              (box_weights[a] * (means[a] - mean[a])**2).sum(0), 1e-4)


def close(a, b, tolerance=1e-5):
    assert torch.allclose(a.double(), b.double(), atol=tolerance,
                          rtol=1e-4), (a, b)


def test_ablations_have_the_fields_of_their_side():
    inputs, samples = batch(images=1)
    for side, lacking in (('box', 'cls'), ('cls', 'box')):
        model = tiny_mdn_ssd(**{f'{lacking}_components': 0})
        with torch.no_grad():
            found = model.predict(inputs, samples)[0].pred_instances
        assert {f'{side}_aleatoric', f'{side}_epistemic'} < set(found.keys())
        assert not {f'{lacking}_aleatoric', f'{lacking}_epistemic'
                    } & set(found.keys())


def test_one_component_has_no_epistemic_uncertainty():
    inputs, samples = batch(images=1)
    with torch.no_grad():
        found = tiny_mdn_ssd(components=1).predict(
            inputs, samples)[0].pred_instances
    assert len(found) and (found.box_aleatoric > 0).all()
    assert found.box_epistemic.abs().max() == 0
    assert found.cls_epistemic.abs().max() == 0


def test_anchors_that_count_for_nothing_are_no_hard_negatives():
    plain, mdn = tiny_ssd().train(), tiny_mdn_ssd(components=0).train()
    mdn.load_state_dict(plain.state_dict())
    inputs, samples = batch()
    losses = []
    for neg_iou_thr in (0.5, 0.05):
        for model in (plain, mdn):
            model.bbox_head.assigner.neg_iou_thr = neg_iou_thr
        losses.append(mdn.loss(inputs, samples)['loss_cls'].item())
        expected = sum(plain.loss(inputs, samples)['loss_cls']).item()
        assert losses[-1] == pytest.approx(expected, 1e-5)
    assert losses[0] != pytest.approx(losses[1], 1e-3)


def test_the_weight_of_positives_counts_with_eq_9_too():
    inputs, samples = batch()
    values = []
    for pos_weight in (-1, 2, 3):
        model = tiny_mdn_ssd(cls_variance=False, weighting=dict()).train()
        model.bbox_head.train_cfg['pos_weight'] = pos_weight
        values.append(model.loss(inputs, samples)['loss_cls'].item())
    assert values[1] > values[0]
    assert values[2] - values[1] == pytest.approx(values[1] - values[0], 1e-3)


def test_no_boxes_give_no_loss_but_gradients_for_all():
    model = tiny_mdn_ssd().train()
    inputs, samples = batch(boxes=0)
    losses = model.loss(inputs, samples)
    assert sum(losses.values()).item() == 0
    sum(losses.values()).backward()
    head = dict(model.bbox_head.named_parameters())
    assert all(p.grad is not None for p in head.values())


def test_noise_is_drawn_in_training_only():
    model = tiny_mdn_ssd()
    inputs, samples = batch()
    values = {}
    for training in (True, False):
        model.bbox_head.train(training)
        values[training] = [
            model.loss(inputs, samples)['loss_cls'].item() for _ in range(2)
        ]
    assert values[True][0] != values[True][1]
    assert values[False][0] == values[False][1]


def test_mixed_precision_gives_finite_losses_and_boxes():
    model = tiny_mdn_ssd().train()
    inputs, samples = batch()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = model.loss(inputs, samples)
        model.eval()
        with torch.no_grad():
            found = model.predict(inputs, samples)[0].pred_instances
    assert all(v.dtype == torch.float32 for v in losses.values())
    assert all(v.isfinite() for v in losses.values())
    assert len(found) and found.box_aleatoric.isfinite().all()


@settings(max_examples=15, deadline=None)
@given(
    scale=st.sampled_from([0.0, 1.0, 50.0, 1e4, 65504.0]),
    half=st.booleans(),
    components=st.integers(1, 3),
    seed=st.integers(0, 99))
def test_extreme_outputs_stay_finite(scale, half, components, seed):
    # without an eps gradients of boxes far off leave the range of float16
    form = 'paper' if half else 'exact'
    head = tiny_mdn_ssd(
        components=components,
        loss_bbox=dict(type='mmal.MixtureNLLLoss', form=form)).bbox_head
    head.train()
    generator = torch.Generator().manual_seed(seed)
    _, samples = batch(seed=seed)

    def raw(channels):
        levels = [
            (torch.randn(2, 4 * channels, n, n, generator=generator) *
             scale).clamp(-65504, 65504) for n in (12, 6, 3)
        ]
        levels = [x.half() if half else x for x in levels]
        return [x.requires_grad_() for x in levels]

    outputs = raw(head.cls_output.channels), raw(head.box_output.channels)
    metas = [s.metainfo for s in samples]
    losses = head.loss_by_feat(*outputs, [s.gt_instances for s in samples],
                               metas)
    sum(losses.values()).backward()
    assert all(v.isfinite() for v in losses.values())
    assert all(
        x.grad.isfinite().all() for level in outputs for x in level)
    for found in head.predict_by_feat(*outputs, batch_img_metas=metas):
        for value in found.values():
            assert not value.isnan().any()


def test_training_lowers_the_loss():
    torch.manual_seed(0)
    model = tiny_mdn_ssd().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    inputs, samples = batch()
    totals = []
    for _ in range(25):
        total = sum(model.loss(inputs, samples).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert np.mean(totals[-5:]) < 0.5 * np.mean(totals[:5])


@pytest.mark.parametrize('head, message', [
    (dict(components=-1), 'cls_components is -1'),
    (dict(box_components=1.5), 'box_components is 1.5'),
    (dict(box_components=True), 'box_components is True'),
    (dict(box_components=0, weighting=dict()), 'weighting'),
    (dict(weighting=dict(alpha=-1)), 'alpha is -1'),
    (dict(reg_decoded_bbox=True), 'reg_decoded_bbox is True'),
    (dict(loss_cls=dict(type='CrossEntropyLoss')),
     "loss_cls is CrossEntropyLoss.*'mmal.MixtureCrossEntropyLoss'"),
    (dict(loss_bbox=dict(type='SmoothL1Loss')), 'loss_bbox is SmoothL1Loss'),
])
def test_bad_settings(head, message):
    with pytest.raises(ValueError, match=message):
        tiny_mdn_ssd(**head)


def test_class_probabilities_are_those_of_the_detections():
    model = tiny_mdn_ssd()
    inputs, samples = batch()
    with torch.no_grad():
        probs = model.bbox_head.class_probabilities(
            *head_outputs(model, inputs))
        found = model.predict(inputs, samples, rescale=False)
    assert torch.allclose(probs.sum(-1), torch.ones(probs.shape[:2]))
    for i, sample in enumerate(found):
        for row in sample.pred_instances.class_probs:
            assert (probs[i] - row).abs().sum(-1).min() < 1e-5


def test_losses_of_plain_boxes_are_smooth_l1():
    model = tiny_mdn_ssd(box_components=0).train()
    inputs, samples = batch(images=1)
    losses = model.loss(inputs, samples)
    labels, targets, _ = matched(model, samples[0])
    deltas = rows(head_outputs(model, inputs)[1], 4)[0]
    positive = [a for a in range(len(labels)) if labels[a] < 3]
    expected = F.smooth_l1_loss(
        deltas[positive],
        torch.stack([targets[a] for a in positive]),
        reduction='sum') / len(positive)
    assert losses['loss_bbox'].item() == pytest.approx(expected.item(), 1e-4)


def test_the_means_learn_from_smooth_l1_too():
    model = tiny_mdn_ssd(mean_weight=0.5).train()
    inputs, samples = batch(images=1)
    torch.manual_seed(0)
    losses = model.loss(inputs, samples)
    labels, targets, _ = matched(model, samples[0])
    head = model.bbox_head
    raw = rows(head_outputs(model, inputs)[1], head.box_output.channels)[0]
    positive = [a for a in range(len(labels)) if labels[a] < 3]
    means = head.box_output.mixture(raw[positive]).mean
    expected = 0.5 * F.smooth_l1_loss(
        means, torch.stack([targets[a] for a in positive]),
        reduction='sum') / len(positive)
    assert losses['loss_mean'].item() == pytest.approx(expected.item(), 1e-4)
    head.mean_weight = 0.
    torch.manual_seed(0)
    paper = model.loss(inputs, samples)
    assert set(paper) == {'loss_cls', 'loss_bbox'}
    assert all(torch.equal(losses[name], paper[name]) for name in paper)


def test_without_nms_pre_no_candidate_is_lost():
    model = tiny_mdn_ssd()
    inputs, samples = batch(images=1)
    metas = [s.metainfo for s in samples]
    counts = {}
    for nms_pre in (None, 10**6):
        cfg = model.test_cfg.copy()
        cfg.pop('nms_pre')
        if nms_pre:
            cfg['nms_pre'] = nms_pre
        with torch.no_grad():
            counts[nms_pre] = len(
                model.bbox_head.predict_by_feat(
                    *head_outputs(model, inputs), batch_img_metas=metas,
                    cfg=cfg, with_nms=False)[0])
    assert counts[None] == counts[10**6] > 0
