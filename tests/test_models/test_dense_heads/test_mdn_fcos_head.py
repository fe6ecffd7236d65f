"""FCOS with mixtures against FCOS, and against loops over points."""
import copy
import itertools
import math

import numpy as np
import pytest
import torch
from helpers.tiny import _widen, build_detector, tiny_fcos_config
from helpers.tiny_mdn_fcos import tiny_mdn_fcos
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.structures import InstanceData
from scipy import stats

from mmal.models.utils import head_outputs, image_losses, training_outputs
from mmal.scoring.detector import dummy_batch

SIZE = 96
SWITCHES = ('norm_on_bbox', 'centerness_on_reg', 'center_sampling')
OPTIONS = [dict(zip(SWITCHES, on))
           for on in itertools.product([True, False], repeat=3)]


def batch(images=2, seed=0, boxes=2):
    """Random images with random boxes."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(images, 3, SIZE, SIZE, generator=generator)
    samples = []
    for _ in range(images):
        sample = dummy_batch(torch.nn.Linear(1, 1), SIZE).samples[0]
        corner = torch.rand(boxes, 2, generator=generator) * 50
        side = 12 + torch.rand(boxes, 2, generator=generator) * 30
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + side], 1),
            labels=torch.randint(3, (boxes, ), generator=generator))
        samples.append(sample)
    return inputs, samples


def fcos(**head):
    config = tiny_fcos_config()
    config['bbox_head'].update(head)
    return build_detector(config, 1, lambda m: _widen(m.bbox_head)).eval()


def extras(head):
    return [n for output in (head.cls_output, head.box_output)
            for n in output.extras]


def with_weights_of(plain, zero=True, **head):
    """A mixture head with the weights of FCOS, its own layers zero."""
    model = tiny_mdn_fcos(**head)
    keys = model.load_state_dict(plain.state_dict(), strict=False)
    own = extras(model.bbox_head)
    assert not keys.unexpected_keys
    assert set(keys.missing_keys) == {
        f'bbox_head.{n}.{p}' for n in own for p in ('weight', 'bias')}
    for name in own if zero else ():
        for p in getattr(model.bbox_head, name).parameters():
            torch.nn.init.zeros_(p)
    return model


@torch.no_grad()
def predicted(model, inputs, samples, rescale=False):
    samples = [sample.new() for sample in samples]
    found = model.predict(inputs, samples, rescale=rescale)
    return [sample.pred_instances for sample in found]


@pytest.mark.parametrize('options', OPTIONS)
@pytest.mark.parametrize('k', [0, 1, 3, 4])
def test_with_its_own_layers_zero_it_is_fcos(options, k):
    plain = fcos(**options)
    mdn = with_weights_of(plain, components=k, **options)
    inputs, samples = batch()
    for a, b in zip(*(predicted(m, inputs, samples) for m in (plain, mdn))):
        assert len(a)
        for name in ('bboxes', 'scores', 'labels'):
            assert torch.equal(a[name], b[name]), name
    found = []
    for model in (plain.train(), mdn.train()):
        losses = model.loss(inputs, samples)
        found.append([losses[f'loss_{n}'].item()
                      for n in ('cls', 'bbox', 'centerness')])
    np.testing.assert_allclose(*found, rtol=1e-5)
    assert ('loss_nll' in losses) == (k > 0)


def test_as_it_is_made_it_is_close_to_fcos_but_its_components_differ():
    plain, (inputs, samples) = fcos(), batch()
    model = with_weights_of(plain, zero=False)
    model.bbox_head.init_component_layers()
    head = model.bbox_head
    with torch.no_grad():
        truth, outputs = (head_outputs(m, inputs) for m in (plain, model))
    probs = rows(truth[0]).sigmoid()
    assert (head.class_probabilities(*outputs) - probs).abs().max() < 0.02
    strides = torch.tensor([p[2] for p in POINTS])[:, None]
    distances = head.distances(rows(outputs[1])) * strides
    error = (distances - rows(truth[1])).abs() / strides
    assert error.max() < 0.1
    for found in predicted(model, inputs, samples):
        assert (found.box_epistemic > 1e-3).all()
        assert (found.cls_epistemic > 0).all()


def test_weights_are_drawn_about_fcos():
    """init_weights has the last word over init_cfg, but only once."""
    from mmdet.registry import MODELS
    config = tiny_fcos_config()['bbox_head']
    config.update(type='mmal.MDNFCOSHead', spread=0.5)
    head = MODELS.build(dict(config, _scope_='mmdet'))
    head.init_weights()
    for name in extras(head):
        assert 0 < getattr(head, name).weight.std() < 0.02
    assert head.conv_reg_deltas.bias.detach()[:4].tolist() == pytest.approx(
        [-0.5, -1 / 6, 1 / 6, 0.5])
    assert head.conv_cls.bias.mean().item() == pytest.approx(-math.log(99))
    torch.nn.init.ones_(head.conv_reg_deltas.bias)
    head.init_weights()
    assert (head.conv_reg_deltas.bias == 1).all()


def test_without_spread_its_own_layers_are_zero():
    head = tiny_mdn_fcos(spread=0.0).bbox_head
    head.init_component_layers()
    for name in extras(head):
        assert not getattr(head, name).weight.any()
        assert not getattr(head, name).bias.any()


def rows(levels):
    """[B, P, channels] by explicit loops over positions."""
    return torch.stack([
        torch.stack([level[i, :, y, x] for level in levels
                     for y in range(level.shape[2])
                     for x in range(level.shape[3])])
        for i in range(len(levels[0]))
    ])


POINTS = [(8 * x + 4, 8 * y + 4, 8) for y in range(12) for x in range(12)] + \
    [(16 * x + 8, 16 * y + 8, 16) for y in range(6) for x in range(6)]
RANGES = {8: (-1, 32), 16: (32, 1e8)}


def matched(sample, point, radius):
    """Label and distances of a point: the smallest box it is for."""
    x, y, stride = point
    best = None
    for box, label in zip(sample.gt_instances.bboxes.tolist(),
                          sample.gt_instances.labels.tolist()):
        x1, y1, x2, y2 = box
        sides = x - x1, y - y1, x2 - x, y2 - y
        if radius is not None:
            centre, r = ((x1 + x2) / 2, (y1 + y2) / 2), radius * stride
            near = max(abs(x - centre[0]), abs(y - centre[1])) < r
            if not near:
                continue
        low, high = RANGES[stride]
        if min(sides) <= 0 or not low <= max(sides) <= high:
            continue
        area = (x2 - x1) * (y2 - y1)
        if best is None or area < best[0]:
            best = area, label, sides
    return best and best[1:]


def components(raw, k):
    """Weights, means and variances [4, k] of a row of the box map."""
    means, variances, weights = raw.double().view(3, 4, k).numpy()
    weights = np.exp(weights)
    return (weights / weights.sum(1, keepdims=True), means,
            np.log1p(np.exp(variances)) + 1e-4)


@pytest.mark.parametrize('options', OPTIONS)
def test_likelihood_equals_a_loop_over_points(options):
    k = 3
    model = tiny_mdn_fcos(components=k, **options).train()
    inputs, samples = batch(boxes=3)
    features = model.extract_feat(inputs)
    losses = model.bbox_head.loss(features, samples)
    with torch.no_grad():
        raw = rows(model.bbox_head(features)[1])
    radius = 1.5 if options['center_sampling'] else None
    total, norm = 0.0, 0.0
    for i, sample in enumerate(samples):
        for row, point in zip(raw[i], POINTS):
            found = matched(sample, point, radius)
            if found is None:
                continue
            left, top, right, bottom = found[1]
            weight = math.sqrt(
                min(left, right) / max(left, right) * min(top, bottom) /
                max(top, bottom))
            pi, mean, variance = components(row, k)
            norm += weight
            for s in range(4):
                target = found[1][s]
                target = target / point[2] if options['norm_on_bbox'] \
                    else math.log(target)
                density = (pi[s] * stats.norm.pdf(
                    target, mean[s], np.sqrt(variance[s]))).sum()
                total -= weight * math.log(density) / 4
    assert norm > 0
    assert losses['loss_nll'].item() == pytest.approx(total / norm, rel=1e-4)


@pytest.mark.parametrize('options', [OPTIONS[0], OPTIONS[4]])
def test_uncertainties_stay_with_their_boxes(options):
    k, c = 3, 3
    model = tiny_mdn_fcos(components=k, **options)
    inputs, samples = batch(images=1)
    for sample in samples:
        sample.set_metainfo(dict(scale_factor=(2.0, 0.5)))
    with torch.no_grad():
        outputs = head_outputs(model, inputs)
    found = predicted(model, inputs, samples, rescale=True)[0]
    cls = rows(outputs[0])[0].double()
    p = cls[:, :c * k].view(-1, c, k).sigmoid()
    pi = cls[:, c * k:].softmax(-1)[:, None]
    probs = (pi * p).sum(-1)
    boxes, centerness = rows(outputs[1])[0], rows(outputs[2])[0].sigmoid()
    assert len(found) > 3
    for i in range(len(found)):
        a = (probs - found.class_probs[i]).abs().sum(1).argmin()
        label = found.labels[i]
        own, weight = p[a, label], pi[a, 0]
        close(found.scores[i], probs[a, label] * centerness[a, 0])
        close(found.cls_aleatoric[i], (weight * own * (1 - own)).sum())
        close(found.cls_epistemic[i],
              (weight * (own - probs[a, label])**2).sum())
        w, mean, variance = components(boxes[a], k)
        centre = (w * mean).sum(1)
        aleatoric = (w * variance).sum(1)
        epistemic = (w * (mean - centre[:, None])**2).sum(1)
        close(found.box_aleatoric[i], torch.tensor(aleatoric))
        close(found.box_epistemic[i], torch.tensor(epistemic))
        x, y, stride = POINTS[a]
        if options['norm_on_bbox']:
            sides, slope = np.maximum(centre, 0) * stride, stride
        else:
            sides = slope = np.exp(centre)
        corners = np.array([x, y, x, y]) + sides * [-1, -1, 1, 1]
        scale = np.array([2.0, 0.5, 2.0, 0.5])
        close(found.bboxes[i],
              torch.tensor(corners.clip(0, SIZE) / scale), 1e-3)
        std = np.sqrt(aleatoric + epistemic) * slope / scale
        close(found.box_std[i], torch.tensor(std))


def close(a, b, tolerance=1e-5):
    assert torch.allclose(a.double(), b.double(), atol=tolerance,
                          rtol=1e-4), (a, b)


@pytest.mark.parametrize('norm', [True, False])
def test_box_std_is_that_of_drawn_boxes(norm):
    """Monte Carlo; in the log space, of narrow distributions."""
    head = tiny_mdn_fcos(norm_on_bbox=norm).bbox_head
    raw = torch.zeros(1, 24, dtype=torch.float64)
    raw[0, :8] = torch.tensor([2.0, 2.05, 3.0, 3.0, 1.5, 1.47, 2.5, 2.52])
    raw[0, 8:16] = -8.0
    raw[0, 16:] = torch.tensor([0.0, 1.0] * 4)
    mixture = head.box_output.mixture(raw)
    generator = torch.Generator().manual_seed(0)
    n = 200000
    chosen = torch.multinomial(mixture.weights[0].T, n, True,
                               generator=generator)
    noise = torch.randn(4, n, generator=generator, dtype=torch.float64)
    draws = mixture.means[0].T.gather(1, chosen) + noise * \
        mixture.variances[0].T.gather(1, chosen).sqrt()
    truth = (draws if norm else draws.exp()).std(1)
    found = head.distance_std(mixture, raw)[0]
    assert torch.allclose(found, truth, rtol=0.01)


def test_the_fields_and_gaussian_fcos():
    inputs, samples = batch()
    four = {f'{side}_{kind}' for side in ('box', 'cls')
            for kind in ('aleatoric', 'epistemic')}
    gaussian = build_detector(_gaussian()).eval()
    assert set(extras(gaussian.bbox_head)) == {'conv_reg_variances'}
    for model, names in (
            (tiny_mdn_fcos(), {*four, 'box_std'}),
            (tiny_mdn_fcos(box_components=0),
             {'cls_aleatoric', 'cls_epistemic'}),
            (tiny_mdn_fcos(cls_components=0),
             {'box_aleatoric', 'box_epistemic', 'box_std'}),
            (tiny_mdn_fcos(components=1), {*four, 'box_std'})):
        found = predicted(model, inputs, samples)[0]
        assert len(found) and set(found.keys()) == {
            *names, 'bboxes', 'scores', 'labels', 'class_probs'}
    assert (found.box_aleatoric > 0).all()
    assert not found.box_epistemic.any() and not found.cls_epistemic.any()


def _gaussian(**head):
    config = tiny_fcos_config()
    config['bbox_head'].update(type='mmal.GaussianFCOSHead', **head)
    return config


def test_no_detection_has_all_fields():
    model = tiny_mdn_fcos()
    model.test_cfg.score_thr = 1.0
    model.bbox_head.test_cfg.score_thr = 1.0
    found = predicted(model, *batch())[0]
    assert len(found) == 0 and found.box_std.shape == (0, 4)
    assert found.cls_epistemic.shape == (0, )


def test_no_boxes_give_gradients_for_all():
    model = tiny_mdn_fcos().train()
    losses = model.loss(*batch(boxes=0))
    assert losses['loss_cls'] > 0
    assert losses['loss_bbox'] == losses['loss_nll'] == 0
    sum(losses.values()).backward()
    head = dict(model.bbox_head.named_parameters())
    assert all(p.grad is not None for p in head.values())


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('norm', [True, False])
def test_losses_of_an_image_do_not_depend_on_its_batch(training, norm):
    model = tiny_mdn_fcos(norm_on_bbox=norm)
    inputs, samples = batch(images=3)
    labels = [s.gt_instances for s in samples]
    with torch.no_grad():
        outputs = head_outputs(model, inputs)
        model.bbox_head.train(training)
        together = image_losses(model, outputs, samples, labels)
        alone = [
            image_losses(model, head_outputs(model.eval(), inputs[i:i + 1]),
                         samples[i:i + 1], labels[i:i + 1])[0]
            for i in range(3)]
        as_trained = sum(
            model.bbox_head.train().loss(
                model.extract_feat(inputs[:1]), samples[:1]).values())
    assert torch.allclose(together, torch.stack(alone), rtol=1e-4)
    assert together[0].item() == pytest.approx(as_trained.item(), 1e-4)
    assert training_outputs(model.bbox_head.eval(), outputs) is outputs


def test_losses_of_positives_have_the_right_derivatives():
    head = tiny_mdn_fcos().bbox_head
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(2, 24, generator=generator, dtype=torch.float64)
    raw[:, :8] += 3
    target = 1 + 4 * torch.rand(2, 4, generator=generator,
                                dtype=torch.float64)
    points = torch.zeros(2, 2, dtype=torch.float64)

    def losses(boxes):
        found = head.positive_losses(boxes, torch.zeros(2), target, points,
                                     2.0)
        return found['loss_bbox'], found['loss_nll']

    assert torch.autograd.gradcheck(losses, raw.requires_grad_())


def test_mixed_precision_gives_finite_losses_and_boxes():
    model = tiny_mdn_fcos().train()
    inputs, samples = batch()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = model.loss(inputs, samples)
        model.eval()
        found = predicted(model, inputs, samples)[0]
    assert all(v.dtype == torch.float32 for v in losses.values())
    assert all(v.isfinite() for v in losses.values())
    assert len(found) and found.box_std.isfinite().all()
    assert found.bboxes.dtype == torch.float32


@settings(max_examples=15, deadline=None)
@given(
    scale=st.sampled_from([0.0, 1.0, 50.0, 1e4, 65504.0]),
    half=st.booleans(),
    norm=st.booleans(),
    k=st.integers(0, 3),
    seed=st.integers(0, 99))
def test_extreme_outputs_stay_finite(scale, half, norm, k, seed):
    head = _heads(k, norm).train()
    generator = torch.Generator().manual_seed(seed)
    _, samples = batch(seed=seed)

    def raw(channels):
        levels = [
            (torch.randn(2, channels, n, n, generator=generator) *
             scale).clamp(-65504, 65504) for n in (12, 6)
        ]
        levels = [x.half() if half else x for x in levels]
        return [x.requires_grad_() for x in levels]

    outputs = (raw(head.cls_output.channels), raw(head.box_output.channels),
               raw(1))
    metas = [s.metainfo for s in samples]
    losses = head.loss_by_feat(*outputs, [s.gt_instances for s in samples],
                               metas)
    sum(losses.values()).backward()
    assert all(v.isfinite() for v in losses.values())
    # a gradient may be more than fits into half precision
    assert all(x.grad.isfinite().all()
               for level in outputs for x in level if not half)
    for found in head.predict_by_feat(*outputs, batch_img_metas=metas):
        for value in found.values():
            assert not value.isnan().any()


_made = {}


def _heads(k, norm):
    if (k, norm) not in _made:
        _made[k, norm] = tiny_mdn_fcos(
            components=k, norm_on_bbox=norm).bbox_head
    return _made[k, norm]


@pytest.mark.parametrize('norm', [True, False])
def test_training_lowers_the_loss(norm):
    torch.manual_seed(0)
    model = tiny_mdn_fcos(norm_on_bbox=norm).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    inputs, samples = batch()
    totals = []
    for _ in range(25):
        losses = model.loss(inputs, samples)
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append((total.item(), losses['loss_nll'].item()))
    first, last = np.mean(totals[:3], 0), np.mean(totals[-3:], 0)
    assert (last < 0.7 * first).all()


def test_probabilities_are_those_of_the_detections():
    model = tiny_mdn_fcos()
    inputs, samples = batch()
    with torch.no_grad():
        probs = model.bbox_head.class_probabilities(
            *head_outputs(model, inputs))
    assert probs.shape == (2, len(POINTS), 3)
    for i, found in enumerate(predicted(model, inputs, samples)):
        for row in found.class_probs:
            assert (probs[i] - row).abs().sum(-1).min() < 1e-5


def test_a_copy_of_a_trained_head_is_the_same():
    model = tiny_mdn_fcos(spread=1)
    again = tiny_mdn_fcos(seed=5)
    again.load_state_dict(copy.deepcopy(model.state_dict()))
    inputs, samples = batch()
    for a, b in zip(*(predicted(m, inputs, samples) for m in (model, again))):
        assert torch.equal(a.box_std, b.box_std)


@pytest.mark.parametrize('head, message', [
    (dict(cls_components=-1), 'cls_components is -1'),
    (dict(box_components=1.5), 'box_components is 1.5'),
    (dict(variance='exp'), "variance is 'exp'"),
    (dict(spread=-1), 'spread is -1'),
    (dict(dcn_on_last_conv=True), 'dcn_on_last_conv is True'),
    (dict(loss_cls=dict(type='CrossEntropyLoss')),
     'loss_cls is CrossEntropyLoss of a softmax'),
    (dict(loss_nll=dict(type='SmoothL1Loss')), 'loss_nll is SmoothL1Loss'),
])
def test_bad_settings(head, message):
    with pytest.raises(ValueError, match=message):
        tiny_mdn_fcos(**head)


@pytest.mark.parametrize('conv_bias', [True, False])
def test_other_options_of_fcos(conv_bias):
    options = dict(conv_bias=conv_bias, variance='sigmoid',
                   loss_bbox=dict(type='IoULoss'))
    model = tiny_mdn_fcos(**options).train()
    assert (model.bbox_head.cls_convs[0].conv.bias is None) != conv_bias
    losses = model.loss(*batch())
    assert all(v.isfinite() for v in losses.values())
    model.eval()
    assert predicted(model, *batch())[0].box_aleatoric.max() <= 1
