"""RetinaNet, ATSS, RTMDet and YOLOX with mixtures.

Against mmdet's own heads, and against loops over what these match.
"""
import math

import numpy as np
import pytest
import torch
from helpers.tiny_mdn_heads import (
    TYPES,
    tiny_mdn_head,
    tiny_plain,
    with_weights_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.structures import InstanceData
from scipy import stats
from scipy.integrate import trapezoid

from mmal.evaluation import mixture_cdf
from mmal.models.utils import head_outputs, image_losses
from mmal.scoring.detector import dummy_batch

SIZE = 96
NAMES = pytest.mark.parametrize('name', TYPES)
ANCHORS = dict(retina=4, atss=1, rtmdet=1, yolox=1)
PLAIN_OUTPUTS = dict(retina=2, atss=3, rtmdet=2, yolox=3)


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


@torch.no_grad()
def predicted(model, inputs, samples, rescale=False):
    samples = [sample.new() for sample in samples]
    detected = model.predict(inputs, samples, rescale=rescale)
    return [sample.pred_instances for sample in detected]


def plain_losses(model, inputs, samples):
    """Each loss of the plain head, and the gradients of their sum."""
    model.zero_grad()
    losses = model.loss(inputs, samples)
    nll = losses.pop('loss_nll', None)
    model.parse_losses(losses)[0].backward()
    values = {name: torch.stack(list(x)) if isinstance(x, (list, tuple)) else x
              for name, x in losses.items()}
    grads = {n: p.grad for n, p in model.named_parameters()
             if 'mixture_' not in n and p.grad is not None}
    return values, grads, nll


CASES = [*((name, k, {}) for name in TYPES for k in (0, 1, 3, 4)),
         ('rtmdet', 3, dict(with_objectness=True, exp_on_reg=True)),
         ('rtmdet', 3, dict(exp_on_reg=True)),
         ('retina', 3, dict(reg_decoded_bbox=True,
                            loss_bbox=dict(type='GIoULoss'))),
         ('atss', 3, dict(loss_cls=dict(type='CrossEntropyLoss',
                                        use_sigmoid=True)))]


@pytest.mark.parametrize('name, k, options', CASES)
@pytest.mark.parametrize('training', [True, False])
def test_with_its_own_layers_zero_it_is_the_plain_head(
        name, k, options, training):
    plain = tiny_plain(name, **options)
    mdn = with_weights_of(plain, tiny_mdn_head(name, k, **options))
    inputs, samples = batch()
    for a, b in zip(*(predicted(m, inputs, samples) for m in (plain, mdn))):
        assert len(a)
        for field in ('bboxes', 'scores', 'labels'):
            assert torch.equal(a[field], b[field]), field
    plain.train(training), mdn.train(training)
    if name == 'yolox':  # from its last epochs on
        plain.bbox_head.use_l1 = mdn.bbox_head.use_l1 = True
    (a, grads, _), (b, ours, nll) = (
        plain_losses(m, inputs, samples) for m in (plain, mdn))
    assert a.keys() == b.keys() and grads.keys() == ours.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key
    for key, grad in grads.items():
        # up to the order of a sum, which some processors choose by the layout
        # of what arrives
        error = (grad - ours[key]).abs().max()
        assert error <= 1e-6 * grad.abs().max(), key
    assert (nll is not None) == (k > 0)


@NAMES
def test_boxes_are_those_of_the_plain_head_whatever_the_mixture(name):
    plain = tiny_plain(name)
    mdn = tiny_mdn_head(name, 3)
    mdn.load_state_dict(plain.state_dict(), strict=False)
    inputs, _ = batch()
    with torch.no_grad():
        outputs = [head_outputs(m, inputs)[1] for m in (plain, mdn)]
    assert all(torch.equal(a, b) for a, b in zip(*outputs))


@NAMES
def test_with_the_same_seed_the_plain_layers_start_alike(name):
    """In their constructors and in init_weights."""
    states = []
    for type_ in (None, TYPES[name]):
        torch.manual_seed(3)
        model = tiny_mdn_head(name, type=type_) if type_ else tiny_plain(name)
        torch.manual_seed(4)
        model.bbox_head._is_init = False
        model.bbox_head.init_weights()
        states.append({n: p for n, p in model.bbox_head.named_parameters()
                       if 'mixture_' not in n})
        after = torch.rand(3)
        states[-1]['random number'] = after
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key


@NAMES
def test_its_layers_are_drawn_about_the_plain_head_once(name):
    head = tiny_mdn_head(name, 4, spread=0.5).bbox_head
    head._is_init = False
    head.init_weights()
    for layer in (*head.mixture_cls, *head.mixture_reg):
        assert 0 < layer.weight.std() < 0.02
    biases = head.mixture_reg[0].bias.view(-1, 3, 4, 4)
    assert not biases[:, 0].any() and not biases[:, 2].any()
    wanted = torch.linspace(-0.5, 0.5, 4).expand_as(biases[:, 1])
    torch.testing.assert_close(biases[:, 1], wanted)
    torch.nn.init.ones_(head.mixture_reg[0].bias)
    head.init_weights()
    # RTMDet draws all of its weights again each time
    assert (head.mixture_reg[0].bias == 1).all() == (name != 'rtmdet')


def test_without_spread_its_layers_are_zero():
    head = tiny_mdn_head('retina', spread=0.0).bbox_head
    head.init_component_layers()
    for layer in (*head.mixture_cls, *head.mixture_reg):
        assert not layer.weight.any() and not layer.bias.any()


def grid(name):
    """Level, row, column, anchor, centre and stride of all positions."""
    return [(level, y, x, a, x * s, y * s, s)
            for level, s in enumerate((8, 16))
            for y in range(SIZE // s) for x in range(SIZE // s)
            for a in range(ANCHORS[name])]


def anchor_of(name, position):
    """x, y, width and height of what a position predicts relative to."""
    _, _, _, a, x, y, s = position
    if name in ('yolox', 'rtmdet'):
        return x, y, s, s
    if name == 'atss':
        return x, y, 3 * s, 3 * s
    ratio, size = (0.5, 1.0)[a // 2], (2, 2 * math.sqrt(2))[a % 2]
    return x, y, s * size / math.sqrt(ratio), s * size * math.sqrt(ratio)


def encoded(name, position, box):
    """A box in the space of the head's mixtures, in plain floats."""
    x, y, w, h = anchor_of(name, position)
    x1, y1, x2, y2 = box
    if name == 'rtmdet':
        return [(x - x1) / w, (y - y1) / h, (x2 - x) / w, (y2 - y) / h]
    return [((x1 + x2) / 2 - x) / w, ((y1 + y2) / 2 - y) / h,
            math.log((x2 - x1) / w), math.log((y2 - y1) / h)]


def decoded(name, position, numbers):
    """And back: x1, y1, x2, y2 of arrays [..., 4]."""
    x, y, w, h = anchor_of(name, position)
    a, b, c, d = np.moveaxis(np.asarray(numbers, np.float64), -1, 0)
    if name == 'rtmdet':
        sides = [x - a * w, y - b * h, x + c * w, y + d * h]
    else:
        cx, cy, bw, bh = x + a * w, y + b * h, w * np.exp(c), h * np.exp(d)
        sides = [cx - bw / 2, cy - bh / 2, cx + bw / 2, cy + bh / 2]
    return np.stack(sides, -1)


def at(levels, position, image, channels):
    level, y, x, a = position[:4]
    values = levels[level][image, a * channels:(a + 1) * channels, y, x]
    return values.detach().double().numpy()


def box_mixture(name, outputs, position, image, k):
    """Means, variances and weights [4, k] by hand."""
    plain = PLAIN_OUTPUTS[name]
    mean = at(outputs[1], position, image, 4)
    if name == 'rtmdet':
        mean = mean / position[-1]
    raw = at(outputs[plain + 2], position, image, 12 * k).reshape(3, 4, k)
    weights = np.exp(raw[2])
    weights /= weights.sum(1, keepdims=True)
    centre = (weights * raw[1]).sum(1)
    return ((mean - centre)[:, None] + raw[1],
            np.log1p(np.exp(raw[0])) + 1e-4, weights)


def matched(name, head, outputs, samples):
    """What mmdet matches: of each image and position the box and weight."""
    labels = [s.gt_instances for s in samples]
    metas = [s.metainfo for s in samples]
    levels = [x.shape[-2:] for x in outputs[0]]
    if name == 'yolox':
        rows = [torch.cat([
            x.permute(0, 2, 3, 1).flatten(1, 2) for x in maps], 1).detach()
            for maps in outputs[:3]]
        priors = torch.cat(head.prior_generator.grid_priors(
            levels, device='cpu', with_stride=True))
        for i, (label, meta) in enumerate(zip(labels, metas)):
            mask, _, _, boxes, *_ = head._get_targets_single(
                priors, rows[0][i], head._bbox_decode(priors, rows[1][i:i + 1])
                [0], rows[2][i, :, 0], label, meta)
            for p, box in zip(mask.nonzero()[:, 0].tolist(), boxes.tolist()):
                yield i, p, box, 1.0
        return
    anchors, valid = head.get_anchors(levels, metas, device='cpu')
    if name == 'rtmdet':
        classes, distances = (
            torch.cat([x.permute(0, 2, 3, 1).flatten(1, 2) for x in maps], 1)
            for maps in outputs[:2])
        points = torch.cat(anchors[0])[:, :2]
        boxes = torch.cat([points - distances[..., :2],
                           points + distances[..., 2:]], -1)
        _, found, _, targets, metrics, _ = head.get_targets(
            classes, boxes, anchors, valid, labels, metas)
        metrics = torch.cat(metrics, 1)
    else:
        head.reg_decoded_bbox, before = True, head.reg_decoded_bbox
        answer = head.get_targets(anchors, valid, labels, metas)
        head.reg_decoded_bbox = before
        _, found, _, targets = answer[:4] if name == 'atss' else (
            None, *answer[:3])
    found, targets = torch.cat(found, 1), torch.cat(targets, 1)
    places = grid(name)
    for i, p in (found < 3).nonzero().tolist():
        box, weight = targets[i, p].tolist(), 1.0
        if name == 'rtmdet':
            weight = metrics[i, p].item()
        if name == 'atss':
            x, y = places[p][4:6]
            left, top, right, bottom = (
                x - box[0], y - box[1], box[2] - x, box[3] - y)
            weight = math.sqrt(
                min(left, right) / max(left, right) * min(top, bottom) /
                max(top, bottom))
        yield i, p, box, weight


@NAMES
@pytest.mark.parametrize('options', [
    {}, dict(loss_nll=dict(type='mmal.MixtureEnergyLoss'))])
def test_the_loss_equals_a_loop_over_what_mmdet_matches(name, options):
    k = 3
    model = tiny_mdn_head(name, k, **options)
    inputs, samples = batch(boxes=3)
    head = model.bbox_head
    outputs = head(model.extract_feat(inputs))
    loss = head.loss_by_feat(
        *outputs, [s.gt_instances for s in samples],
        [s.metainfo for s in samples])['loss_nll']
    places, total, norm = grid(name), 0.0, 0.0
    for i, p, box, weight in matched(name, head, outputs, samples):
        mixture = box_mixture(name, outputs, places[p], i, k)
        norm += weight
        for target, *c in zip(encoded(name, places[p], box), *mixture):
            total += weight / 4 * (
                crps(target, *c) if options else -math.log(
                    (c[2] * stats.norm.pdf(target, c[0], np.sqrt(c[1]))
                     ).sum()))
    assert norm > 0
    assert loss.item() == pytest.approx(total / max(norm, 1), rel=1e-4)


def crps(y, means, variances, weights):
    """By its definition, an integral over the distribution function."""
    std = np.sqrt(variances)

    def below(x):
        return (weights * stats.norm.cdf(x[:, None], means, std)).sum(1)

    reach = 12 * std.max()
    left = np.linspace(min(means.min(), y) - reach, y, 4001)
    right = np.linspace(y, max(means.max(), y) + reach, 4001)
    return trapezoid(below(left)**2, left) + trapezoid(
        (1 - below(right))**2, right)


def test_decoded_targets_are_encoded():
    """RetinaNet with a loss of boxes, not of deltas."""
    options = dict(reg_decoded_bbox=True, loss_bbox=dict(type='GIoULoss'))
    inputs, samples = batch(boxes=3)
    losses = []
    for keys in ({}, options):
        model = tiny_mdn_head('retina', **keys)
        losses.append(model.loss(inputs, samples)['loss_nll'].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize('name, options', [
    *((name, {}) for name in TYPES), ('rtmdet', dict(exp_on_reg=True))])
def test_uncertainties_stay_with_their_boxes(name, options):
    k = 3
    model = tiny_mdn_head(name, k, **options)
    inputs, samples = batch(images=2)
    scale = np.array([2.0, 0.5, 2.0, 0.5])
    for sample in samples:
        sample.set_metainfo(dict(scale_factor=(2.0, 0.5)))
    with torch.no_grad():
        outputs = head_outputs(model, inputs)
    results = predicted(model, inputs, samples, rescale=True)
    first = PLAIN_OUTPUTS[name]
    for image, result in enumerate(results):
        boxes, classes = [], []
        for position in grid(name):
            means, variances, weights = box_mixture(
                name, outputs, position, image, k)
            centre = (weights * means).sum(1)
            aleatoric = (weights * variances).sum(1)
            epistemic = (weights * (means - centre[:, None])**2).sum(1)
            boxes.append((decoded(name, position, centre), aleatoric,
                          epistemic))
            z = at(outputs[first], position, image, 3)
            raw = at(outputs[first + 1], position, image, 4 * k)
            pi = np.exp(raw[3 * k:]) / np.exp(raw[3 * k:]).sum()
            p = 1 / (1 + np.exp(-z[:, None] - raw[:3 * k].reshape(3, k)))
            mean = (pi * p).sum(1)
            classes.append((mean, (pi * p * (1 - p)).sum(1),
                            (pi * (p - mean[:, None])**2).sum(1)))
        all_boxes = np.stack([b[0] for b in boxes])
        if name != 'yolox':  # which leaves them as they are
            all_boxes = all_boxes.clip(0, SIZE)
        probs = np.stack([c[0] for c in classes])
        assert len(result) > 3
        for i in range(len(result)):
            p = (np.abs(probs - result.class_probs[i].numpy()).sum(1) + np.abs(
                all_boxes / scale - result.bboxes[i].numpy()).sum(1)).argmin()
            label = result.labels[i].item()
            close(result.bboxes[i], all_boxes[p] / scale, 2e-3)
            close(result.class_probs[i], probs[p])
            close(result.cls_aleatoric[i], classes[p][1][label])
            close(result.cls_epistemic[i], classes[p][2][label])
            close(result.box_aleatoric[i], boxes[p][1])
            close(result.box_epistemic[i], boxes[p][2])
            if name == 'retina':
                close(result.scores[i], probs[p][label])


def close(a, b, tolerance=1e-5):
    np.testing.assert_allclose(a.double().numpy(), b, 1e-4, tolerance)


@NAMES
def test_box_std_and_mixtures_are_those_of_drawn_boxes(name):
    """Monte Carlo, of narrow distributions."""
    k, draws = 2, 100000
    model = tiny_mdn_head(name, k)
    model.bbox_head.test_cfg.box_mixture = True
    with torch.no_grad():
        for layer in model.bbox_head.mixture_reg:
            narrow = layer.bias.view(-1, 3, 4, k)
            narrow[:, 0] = -7  # variances
            narrow[:, 1] *= 0.1  # differences
            layer.weight *= 0.01
    inputs, samples = batch(images=1)
    for sample in samples:
        sample.set_metainfo(dict(scale_factor=(2.0, 0.5)))
    with torch.no_grad():
        outputs = head_outputs(model, inputs)
    result = predicted(model, inputs, samples, rescale=True)[0]
    random = np.random.default_rng(0)
    places = grid(name)
    checked = 0
    first = PLAIN_OUTPUTS[name]
    logits, extras = (
        torch.tensor(np.stack([at(maps, p, 0, c) for p in places]))
        for maps, c in ((outputs[first], 3), (outputs[first + 1], 4 * k)))
    probs = model.bbox_head.cls_extras.logit(logits, extras).sigmoid().numpy()
    for i in range(0, min(len(result), 12), 3):
        distance = np.abs(probs - result.class_probs[i].numpy()).sum(1)
        position = places[distance.argmin()]
        mixture = box_mixture(name, outputs, position, 0, k)
        numbers = np.stack([
            random.normal(m[c], np.sqrt(v[c])) for m, v, c in (
                (m, v, random.choice(k, draws, p=w))
                for m, v, w in zip(*mixture))], -1)
        drawn = decoded(name, position, numbers) / [2, .5, 2, .5]
        np.testing.assert_allclose(result.box_std[i], drawn.std(0), rtol=0.02)
        assert result.box_mixture_means.shape[1:] == (
            k if name == 'rtmdet' else k * k, 4)
        # the largest distance to the empirical distribution (Kolmogorov)
        cdf = mixture_cdf(
            drawn, *(result[f'box_mixture_{part}'][i].double().expand(
                draws, -1, -1).numpy() for part in (
                    'means', 'stds', 'weights')))
        ranks = drawn.argsort(0).argsort(0) / draws
        assert np.abs(cdf - ranks).max() < 0.02
        checked += 1
    assert checked > 1


@NAMES
def test_the_fields(name):
    inputs, samples = batch()
    four = {f'{side}_{kind}' for side in ('box', 'cls')
            for kind in ('aleatoric', 'epistemic')}
    for keys, fields in (
            ({}, {*four, 'box_std'}),
            (dict(box_components=0), {'cls_aleatoric', 'cls_epistemic'}),
            (dict(cls_components=0),
             {'box_aleatoric', 'box_epistemic', 'box_std'}),
            (dict(components=1), {*four, 'box_std'})):
        result = predicted(tiny_mdn_head(name, **keys), inputs, samples)[0]
        assert len(result) and set(result.keys()) == {
            *fields, 'bboxes', 'scores', 'labels', 'class_probs'}
    assert (result.box_aleatoric > 0).all()
    assert not result.box_epistemic.any() and not result.cls_epistemic.any()


@NAMES
def test_no_detection_has_all_fields(name):
    model = tiny_mdn_head(name)
    model.bbox_head.test_cfg.score_thr = 1.0
    result = predicted(model, *batch())[0]
    assert len(result) == 0 and result.box_std.shape == (0, 4)
    assert result.cls_epistemic.shape == (0, )


@NAMES
def test_candidates_before_nms_have_the_fields_too(name):
    model = tiny_mdn_head(name)
    inputs, samples = batch()
    with torch.no_grad():
        outputs = head_outputs(model, inputs)
    metas = [s.metainfo for s in samples]
    every, kept = (
        model.bbox_head.predict_by_feat(
            *outputs, batch_img_metas=metas, with_nms=with_nms)[0]
        for with_nms in (False, True))
    assert len(every) >= len(kept) > 0
    assert len(every.box_std) == len(every.cls_epistemic) == len(every)
    for row in kept.class_probs:
        assert (every.class_probs - row).abs().amax(1).min() < 1e-6


@NAMES
def test_no_boxes_give_gradients_for_all(name):
    model = tiny_mdn_head(name).train()
    losses = model.loss(*batch(boxes=0))
    assert losses['loss_nll'] == 0
    model.parse_losses(losses)[0].backward()
    head = dict(model.bbox_head.named_parameters())
    assert all(p.grad is not None for p in head.values())


@NAMES
def test_losses_of_an_image_do_not_depend_on_its_batch(name):
    model = tiny_mdn_head(name)
    inputs, samples = batch(images=3)
    labels = [s.gt_instances for s in samples]
    with torch.no_grad():
        together = image_losses(model, head_outputs(model, inputs), samples,
                                labels)
        alone = [
            image_losses(model, head_outputs(model, inputs[i:i + 1]),
                         samples[i:i + 1], labels[i:i + 1])[0]
            for i in range(3)]
        trained = model.parse_losses(model.loss(inputs[:1], samples[:1]))[0]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-4,
                               atol=1e-5)
    assert together[0].item() == pytest.approx(trained.item(), 1e-4)


@NAMES
def test_mixed_precision_gives_finite_losses_and_boxes(name):
    model = tiny_mdn_head(name).train()
    inputs, samples = batch()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = model.loss(inputs, samples)
        model.eval()
        result = predicted(model, inputs, samples)[0]
    assert losses['loss_nll'].dtype == torch.float32
    assert model.parse_losses(losses)[0].isfinite()
    assert len(result) and result.box_std.isfinite().all()


@settings(max_examples=20, deadline=None)
@given(
    name=st.sampled_from(sorted(TYPES)),
    scale=st.sampled_from([0.0, 1.0, 30.0]),
    own=st.sampled_from([0.0, 1.0, 1e4, 65504.0]),
    k=st.integers(1, 3),
    seed=st.integers(0, 99))
def test_extreme_extras_stay_finite(name, scale, own, k, seed):
    if (name, k) not in _made:
        _made[name, k] = tiny_mdn_head(name, k).bbox_head
    head, a = _made[name, k], ANCHORS[name]
    generator = torch.Generator().manual_seed(seed)
    _, samples = batch(seed=seed)

    def maps(channels, scale):
        levels = [scale * torch.randn(2, a * channels, n, n,
                                      generator=generator) for n in (12, 6)]
        return [x.clamp(-65504, 65504).requires_grad_() for x in levels]

    # where mmdet's own losses are finite
    outputs = [maps(3, scale), maps(4, min(scale, 1.0)),
               *(maps(1, scale) for _ in range(PLAIN_OUTPUTS[name] - 2)),
               maps(3, scale), maps(head.cls_extras.channels, own),
               maps(head.box_extras.channels, own)]
    metas = [s.metainfo for s in samples]
    losses = head.loss_by_feat(*outputs, [s.gt_instances for s in samples],
                               metas)
    losses['loss_nll'].backward()
    assert losses['loss_nll'].isfinite()
    for x in (*outputs[1], *outputs[-1]):
        assert x.grad is None or x.grad.isfinite().all()
    for result in head.predict_by_feat(*outputs, batch_img_metas=metas):
        for value in result.values():
            assert not value.isnan().any()


_made = {}


@NAMES
def test_training_lowers_the_loss(name):
    torch.manual_seed(0)
    model = tiny_mdn_head(name).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    inputs, samples = batch()
    totals = []
    for _ in range(30):
        losses = model.loss(inputs, samples)
        total = model.parse_losses(losses)[0]
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append((total.item(), losses['loss_nll'].item()))
    first, last = np.mean(totals[:3], 0), np.mean(totals[-3:], 0)
    assert (last < 0.8 * first).all()


@pytest.mark.parametrize('name', ['retina', 'atss', 'rtmdet'])
def test_class_probabilities_are_those_of_the_detections(name):
    model = tiny_mdn_head(name)
    inputs, samples = batch()
    with torch.no_grad():
        probs = model.bbox_head.class_probabilities(
            *head_outputs(model, inputs))
    assert probs.shape == (2, len(grid(name)), 3)
    for i, result in enumerate(predicted(model, inputs, samples)):
        for row in result.class_probs:
            assert (probs[i] - row).abs().sum(-1).min() < 1e-5


def test_class_probabilities_of_yolox_have_the_objectness():
    model = tiny_mdn_head('yolox')
    inputs, samples = batch()
    with torch.no_grad():
        probs = model.bbox_head.class_probabilities(
            *head_outputs(model, inputs))
    for i, result in enumerate(predicted(model, inputs, samples)):
        best = probs[i].amax(-1)
        for score in result.scores:
            assert (best - score).abs().min() < 1e-6


@NAMES
@pytest.mark.parametrize('head, message', [
    (dict(cls_components=-1), 'cls_components is -1'),
    (dict(box_components=1.5), 'box_components is 1.5'),
    (dict(variance='exp'), "variance is 'exp'"),
    (dict(spread=-1), 'spread is -1'),
    (dict(loss_nll=dict(type='SmoothL1Loss')), 'loss_nll is SmoothL1Loss')])
def test_bad_settings(name, head, message):
    with pytest.raises(ValueError, match=message):
        tiny_mdn_head(name, **head)


@pytest.mark.parametrize('name', ['retina', 'atss'])
def test_a_softmax_is_refused(name):
    with pytest.raises(ValueError, match='CrossEntropyLoss of a softmax'):
        tiny_mdn_head(name, loss_cls=dict(type='CrossEntropyLoss'))
