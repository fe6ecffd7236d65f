import copy
import math

import cv2
import numpy as np
import pytest
import torch
from helpers.tiny import tiny_config
from helpers.tiny_faster_rcnn import (
    tiny_faster_rcnn,
    tiny_faster_rcnn_config,
    tiny_mdn_faster_rcnn,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import ConfigDict
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from mmal.compat.ops import has_compiled_ops
from mmal.models import MDNShared2FCBBoxHead

CLASSES = 3
STDS = torch.tensor([0.1, 0.1, 0.2, 0.2])
BOTH = [(1, True), (3, True), (1, False), (3, False)]
FIELDS = {'box_aleatoric', 'box_epistemic', 'cls_aleatoric', 'cls_epistemic'}
pytestmark = pytest.mark.usefixtures('mmdet_scope')


def make_head(**options):
    options = {**dict(box_components=3, cls_components=3), **options}
    return MDNShared2FCBBoxHead(
        in_channels=4,
        fc_out_channels=8,
        roi_feat_size=2,
        num_classes=CLASSES,
        **options).eval()


def raw_outputs(head, rows, seed=0, scale=1.0):
    rng = torch.manual_seed(seed)
    return [
        scale * torch.randn(rows, layer.out_features, generator=rng)
        for layer in (head.fc_cls, head.fc_reg)
    ]


def rois_of(rows, seed=0):
    corner = torch.rand(rows, 2, generator=torch.manual_seed(seed)) * 80
    return torch.cat([torch.zeros(rows, 1), corner, corner + 40], 1)


def nms_config(score_thr=0.1):
    return ConfigDict(
        score_thr=score_thr,
        nms=dict(type='nms', iou_threshold=0.5),
        max_per_img=30)


def predict(head, rois, cls, reg, rescale=False, **meta):
    meta = {**dict(img_shape=(128, 128), scale_factor=(2.0, 4.0)), **meta}
    return head.predict_by_feat((rois, ), (cls, ), (reg, ), [meta],
                                nms_config(), rescale)[0]


def read_classes(head, raw, components, variance):
    """One row's components: (weight, probabilities, variances), by loops."""
    size = components * (CLASSES + 1)
    weights = np.exp(raw[-components:])
    weights /= weights.sum()
    parts = []
    for k in range(components):
        at = slice(k * (CLASSES + 1), (k + 1) * (CLASSES + 1))
        probs = np.exp(raw[at]) / np.exp(raw[at]).sum()
        spread = 1 / (1 + np.exp(-raw[size:2 * size][at])) if variance else \
            probs * (1 - probs)
        parts.append((weights[k], probs, spread))
    return parts


def read_box(raw, components):
    """One box's components of coordinate b: (weight, mean, variance)."""
    size = 4 * components
    coordinates = []
    for b in range(4):
        logits = np.exp(raw[2 * size + b::4])
        coordinates.append([(logits[k] / logits.sum(), raw[4 * k + b],
                             1 / (1 + np.exp(-raw[size + 4 * k + b])))
                            for k in range(components)])
    return coordinates


def box_raw(reg, row, label, components, agnostic):
    channels = 12 * components
    start = 0 if agnostic else label * channels
    return reg[row].double().numpy()[start:start + channels]


def mean(parts):
    return sum(w * m for w, m, _ in parts)


def spread(parts):
    return sum(w * s for w, _, s in parts)


def variance_of_means(parts):
    return sum(w * (m - mean(parts))**2 for w, m, _ in parts)


@pytest.mark.parametrize('agnostic', [False, True])
@pytest.mark.parametrize('components, variance', BOTH)
def test_layers_have_the_papers_channels(components, variance, agnostic):
    head = make_head(
        box_components=components,
        cls_components=components,
        cls_variance=variance,
        reg_class_agnostic=agnostic)
    classes = (CLASSES + 1) * components * (2 if variance else 1) + components
    boxes = 4 * 3 * components * (1 if agnostic else CLASSES)
    assert (head.fc_cls.out_features, head.fc_reg.out_features) == \
        (classes, boxes)
    assert [n for n, _ in head.named_parameters()] == [
        n for n, _ in tiny_faster_rcnn().roi_head.bbox_head.named_parameters()
    ]


@pytest.mark.parametrize('agnostic', [False, True])
@pytest.mark.parametrize('components, variance', BOTH)
def test_fields_are_those_of_each_detection(components, variance, agnostic):
    head = make_head(
        box_components=components,
        cls_components=components,
        cls_variance=variance,
        reg_class_agnostic=agnostic)
    rois = rois_of(25)
    cls, reg = raw_outputs(head, 25)
    found = predict(head, rois, cls, reg)
    assert len(found) > 10 and found.labels.unique().numel() == CLASSES
    every = [(row, label, mean(read_classes(head, cls[row].double().numpy(),
                                            components, variance)))
             for row in range(25) for label in range(CLASSES)]
    for i in range(len(found)):
        row, label, probs = min(
            (e for e in every if e[1] == found.labels[i]),
            key=lambda e: abs(e[2][e[1]] - found.scores[i].item()))
        classes = read_classes(head, cls[row].double().numpy(), components,
                               variance)
        box = read_box(
            box_raw(reg, row, label, components, agnostic), components)
        deltas = torch.tensor([[mean(b) for b in box]]).float()
        expected = dict(
            scores=probs[label],
            class_probs=probs,
            bboxes=head.bbox_coder.decode(
                rois[row:row + 1, 1:], deltas, max_shape=(128, 128))[0],
            box_aleatoric=[spread(b) for b in box],
            box_epistemic=[variance_of_means(b) for b in box],
            cls_aleatoric=spread(classes)[label],
            cls_epistemic=variance_of_means(classes)[label])
        for name, value in expected.items():
            np.testing.assert_allclose(
                found[name][i], value, rtol=1e-4, atol=1e-4, err_msg=name)


def test_rescaling_moves_boxes_only():
    head = make_head()
    rois, outputs = rois_of(20), raw_outputs(head, 20)
    small = predict(head, rois, *outputs, scale_factor=(1.0, 1.0),
                    rescale=True)
    large = predict(head, rois, *outputs)
    assert len(small) == len(large) > 0
    for name in small.keys():
        assert torch.equal(small[name], large[name])
    halved = predict(head, rois, *outputs, scale_factor=(2.0, 2.0),
                     rescale=True)
    torch.testing.assert_close(halved.bboxes * 2, small.bboxes)
    assert torch.equal(halved.box_epistemic, small.box_epistemic)


def test_without_test_config_all_rows_come_back():
    head = make_head()
    rois, (cls, reg) = rois_of(6), raw_outputs(head, 6)
    meta = dict(img_shape=(128, 128), scale_factor=(1.0, 1.0))
    raw = head.predict_by_feat((rois, ), (cls, ), (reg, ), [meta])[0]
    assert raw.bboxes.shape == (6, 4 * CLASSES)
    torch.testing.assert_close(
        raw.scores, head.cls_output.mixture(cls).probs)


def test_no_proposal_gives_empty_fields():
    head = make_head()
    found = predict(head, rois_of(0), *raw_outputs(head, 0))
    shapes = {name: tuple(found[name].shape) for name in found.keys()}
    assert shapes == dict(
        bboxes=(0, 4), scores=(0, ), labels=(0, ),
        class_probs=(0, CLASSES + 1), box_aleatoric=(0, 4),
        box_epistemic=(0, 4), box_std=(0, 4), cls_aleatoric=(0, ),
        cls_epistemic=(0, ))


def test_nothing_above_the_threshold_gives_empty_fields():
    head = make_head()
    cls, reg = raw_outputs(head, 5)
    logits = cls[:, :3 * (CLASSES + 1)].unflatten(1, (3, CLASSES + 1))
    logits[..., -1] = 50.0
    found = predict(head, rois_of(5), cls, reg)
    assert len(found) == 0 and FIELDS <= set(found.keys())


@pytest.mark.parametrize('agnostic', [False, True])
def test_one_component_detects_what_the_plain_head_does(agnostic):
    plain = tiny_faster_rcnn(reg_class_agnostic=agnostic)
    mixture = tiny_mdn_faster_rcnn(components=1, reg_class_agnostic=agnostic)
    theirs, ours = (m.roi_head.bbox_head for m in (plain, mixture))
    state = plain.state_dict()
    for name, start, every in (('fc_cls', CLASSES + 1, None),
                               ('fc_reg', 4, 12)):
        for kind in ('weight', 'bias'):
            target = getattr(getattr(ours, name), kind).data
            source = getattr(getattr(theirs, name), kind).data
            if every is None:
                target[:start] = source
            else:
                target.unflatten(0, (-1, every))[:, :start] = \
                    source.unflatten(0, (-1, start))
            state[f'roi_head.bbox_head.{name}.{kind}'] = target
    mixture.load_state_dict(state)
    expected, found = (run(m) for m in (plain, mixture))
    for a, b in zip(expected, found):
        assert len(a) == len(b) > 0
        for name in ('bboxes', 'scores', 'labels'):
            torch.testing.assert_close(a[name], b[name])
        assert b.box_epistemic.abs().max() == b.cls_epistemic.abs().max() == 0
        assert b.box_aleatoric.min() > 0


def samples_of(number, boxes=True, size=(64, 96)):
    from mmdet.structures import DetDataSample
    samples = []
    for _ in range(number):
        sample = DetDataSample(metainfo=dict(
            img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0),
            pad_shape=size, batch_input_shape=size))
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[8., 8., 40., 40.], [50., 20., 90., 60.]]
                                )[:2 * boxes],
            labels=torch.tensor([0, 2])[:2 * boxes])
        samples.append(sample)
    return samples


def images(number, seed=0):
    return torch.randn(number, 3, 64, 96, generator=torch.manual_seed(seed))


def run(model, number=2):
    with torch.no_grad():
        results = model.predict(images(number), samples_of(number))
    return [sample.pred_instances for sample in results]


def targets_of(rows, labels):
    rng = torch.manual_seed(1)
    labels = torch.tensor(labels)
    weights = torch.ones(rows)
    weights[-1] = 0.5
    boxes = torch.randn(rows, 4, generator=rng)
    box_weights = (labels < CLASSES).float()[:, None].repeat(1, 4)
    box_weights[0, 1] = 0.25
    return labels, weights, boxes, box_weights


def expected_losses(head, cls, reg, targets, weighting):
    """The losses by loops over proposals, coordinates and components."""
    labels, weights, boxes, box_weights = (t.double().numpy()
                                           for t in targets)
    loss_cls = loss_box = hits = 0.0
    for row, label in enumerate(labels.astype(int)):
        classes = read_classes(head, cls[row].double().numpy(), 3, True)
        factor = 1.0
        if label < CLASSES:
            box = read_box(box_raw(reg, row, label, 3, False), 3)
            if weighting:
                u_loc = sum(spread(b) for b in box) / 4
                u_r = sum(w * p[label] * (1 - p[label])
                          for w, p, _ in classes)
                factor = (1 - u_loc) / (1 + u_r)**weighting['alpha']
            for b, parts in enumerate(box):
                density = sum(
                    w * math.exp(-(boxes[row, b] - m)**2 / 2 / s)
                    / math.sqrt(2 * math.pi * s) for w, m, s in parts)
                loss_box -= math.log(density + 1e-9) * box_weights[row, b] * (
                    factor if weighting and weighting['box'] else 1)
        loss_cls -= factor * weights[row] * sum(
            w * math.log(p[label]) for w, p, _ in classes)
        hits += np.argmax(mean(classes)) == label
    rows = len(labels)
    return dict(loss_cls=loss_cls / rows, loss_bbox=loss_box / rows,
                acc=100 * hits / rows)


@pytest.mark.parametrize('weighting', [
    None, dict(alpha=4.0, box=True), dict(alpha=2.0, box=False)])
def test_losses_are_those_of_the_rows(weighting):
    head = make_head(weighting=weighting)
    cls, reg = raw_outputs(head, 6)
    targets = targets_of(6, [0, 2, 3, 3, 1, 3])
    losses = head.loss(cls, reg, rois_of(6), *targets)
    expected = expected_losses(head, cls, reg, targets, weighting)
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value, rel=1e-4), name


def test_a_certain_component_is_the_plain_loss():
    from mmdet.models.losses import CrossEntropyLoss
    head = make_head(box_components=1, cls_components=1).train()
    cls, reg = raw_outputs(head, 6)
    cls[:, CLASSES + 1:] = -50.0  # no variance, so no noise
    reg.unflatten(1, (CLASSES, 3, 4))[:, :, 1] = 50.0  # variance 1
    targets = targets_of(6, [0, 2, 3, 3, 1, 3])
    losses = head.loss(cls, reg, rois_of(6), *targets)
    plain = CrossEntropyLoss()(cls[:, :CLASSES + 1], targets[0], targets[1],
                               avg_factor=6)
    assert losses['loss_cls'].item() == pytest.approx(plain.item(), rel=5e-3)
    rows = torch.tensor([0, 1, 4])
    means = reg.unflatten(1, (CLASSES, 3, 4))[rows, targets[0][rows], 0]
    squares = (means - targets[2][rows]).square() / 2
    nll = (squares + math.log(2 * math.pi) / 2) * targets[3][rows]
    assert losses['loss_bbox'].item() == pytest.approx(
        nll.sum().item() / 6, rel=1e-4)


def test_the_factor_passes_no_gradient_unless_asked():
    gradients = []
    for detach in (True, False):
        head = make_head(weighting=dict(detach=detach, box=False))
        cls, reg = (x.requires_grad_() for x in raw_outputs(head, 4))
        targets = targets_of(4, [0, 1, 2, 3])
        loss = head.loss(cls, reg, rois_of(4), *targets)['loss_cls']
        gradients.append(
            torch.autograd.grad(loss, reg, allow_unused=True)[0])
    assert gradients[0] is None or not gradients[0].any()
    assert gradients[1].any()


@pytest.mark.parametrize('components', [0, 3])
def test_losses_without_positives_reach_all_parameters(components):
    head = make_head(box_components=components).train()
    for rows in (5, 0):
        head.zero_grad()
        outputs = head(torch.randn(rows, 4, 2, 2))
        targets = targets_of(5, [CLASSES] * 5)
        losses = head.loss(*outputs, rois_of(rows), *(t[:rows]
                                                      for t in targets))
        assert losses['loss_bbox'].item() == 0
        assert losses['acc'].numel() == 1
        (losses['loss_cls'] + losses['loss_bbox']).backward()
        for parameter in head.parameters():
            assert parameter.grad.isfinite().all()


@pytest.mark.parametrize('options, fields', [
    (dict(box_components=0), {'cls_aleatoric', 'cls_epistemic'}),
    (dict(cls_components=0), {'box_aleatoric', 'box_epistemic'}),
    (dict(box_components=0, cls_components=0), set())])
def test_a_plain_side_is_mmdets(options, fields):
    plain = tiny_faster_rcnn()
    model = tiny_mdn_faster_rcnn(**options)
    ours, theirs = (m.roi_head.bbox_head for m in (model, plain))
    found = run(model)[0]
    assert FIELDS & set(found.keys()) == fields
    torch.testing.assert_close(found.class_probs.sum(1),
                               torch.ones(len(found)))
    cls, reg = raw_outputs(ours, 6)
    plain_cls, plain_reg = raw_outputs(theirs, 6)
    if 'cls_components' in options:
        cls = plain_cls
    if 'box_components' in options:
        reg = plain_reg
    targets = targets_of(6, [0, 2, 3, 3, 1, 3])
    losses = ours.loss(cls, reg, rois_of(6), *targets)
    expected = theirs.loss(plain_cls, plain_reg, rois_of(6), *targets)
    names = dict(box_components='loss_bbox', cls_components='loss_cls')
    for name in map(names.get, options):
        assert torch.equal(losses[name], expected[name])
    assert losses.keys() == expected.keys()


@pytest.mark.parametrize('options', [
    dict(), dict(cls_variance=False, weighting=dict())])
def test_training_lowers_the_losses(options):
    model = tiny_mdn_faster_rcnn(**options).train()
    head = model.roi_head.bbox_head
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    torch.manual_seed(0)
    history = []
    for _ in range(25):
        losses = model.loss(images(2), samples_of(2))
        value = losses['loss_cls'] + losses['loss_bbox']
        optimizer.zero_grad()
        value.backward()
        assert all(p.grad is not None for p in head.parameters())
        optimizer.step()
        history.append(value.item())
    assert np.mean(history[-5:]) < 0.7 * np.mean(history[:5])


def test_images_without_objects_train_and_predict():
    model = tiny_mdn_faster_rcnn(weighting=dict()).train()
    losses = model.loss(images(2), samples_of(2, boxes=False))
    assert losses['loss_bbox'].item() == 0
    total = sum(v for name, v in losses.items() if 'loss' in name
                for v in (v if isinstance(v, list) else [v]))
    total.backward()
    for parameter in model.roi_head.parameters():
        assert parameter.grad.isfinite().all()


def test_an_image_without_proposals_has_empty_fields():
    model = tiny_mdn_faster_rcnn()
    samples = samples_of(2)
    with torch.no_grad():
        features = model.extract_feat(images(2))
        proposals = model.rpn_head.predict(features, samples, rescale=False)
        proposals[0] = proposals[0][:0]
        empty, found = model.roi_head.predict(features, proposals, samples,
                                              rescale=True)
    assert len(empty) == 0 < len(found)
    assert empty.keys() == found.keys()
    assert empty.box_aleatoric.shape == (0, 4)


@pytest.mark.skipif(
    has_compiled_ops(),
    reason='the NMS of a compiled mmcv takes only float32 on CPUs')
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_detector_trains_and_predicts_under_autocast(dtype):
    model = tiny_mdn_faster_rcnn(weighting=dict()).train()
    with torch.autocast('cpu', dtype=dtype):
        losses = model.loss(images(2), samples_of(2))
        found = run(model.eval())
    assert losses['loss_cls'].isfinite() and losses['loss_bbox'].isfinite()
    for name in (*FIELDS, 'bboxes', 'scores'):
        assert all(d[name].isfinite().all() for d in found)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_is_finite_and_close(dtype):
    head = make_head(weighting=dict()).train()
    for layer in (head.fc_cls, head.fc_reg):
        torch.nn.init.normal_(layer.weight, std=0.3)
    features = torch.randn(6, 4, 2, 2, generator=torch.manual_seed(0))
    targets = targets_of(6, [0, 2, 3, 3, 1, 3])
    results = []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast('cpu', dtype=dtype, enabled=enabled):
            outputs = head(features)
            losses = head.loss(*outputs, rois_of(6), *targets)
            found = predict(head, rois_of(6), *outputs)
        assert outputs[0].dtype == (dtype if enabled else torch.float32)
        assert losses['loss_cls'].dtype == torch.float32
        assert all(found[f].isfinite().all() for f in FIELDS)
        head.zero_grad()
        (losses['loss_cls'] + losses['loss_bbox']).backward()
        assert all(p.grad.isfinite().all() for p in head.parameters())
        results.append((losses['loss_cls'].item(),
                        losses['loss_bbox'].item()))
    np.testing.assert_allclose(*results, rtol=0.05)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31 - 1), st.sampled_from([1, 2, 5]),
       st.floats(1e-3, 6e4), st.integers(0, 6), st.booleans())
def test_extreme_outputs_give_no_nan(seed, components, scale, rows, variance):
    head = make_head(
        box_components=components,
        cls_components=components,
        cls_variance=variance,
        weighting=dict())
    raw = [x.clamp(-65504, 65504).half().requires_grad_()
           for x in raw_outputs(head, rows, seed, scale)]
    found = predict(head, rois_of(rows), *(x.detach() for x in raw))
    assert all(found[name].isfinite().all() for name in found.keys())
    targets = targets_of(max(rows, 1), [seed % (CLASSES + 1)] * max(rows, 1))
    losses = head.loss(*raw, rois_of(rows), *(t[:rows] for t in targets))
    assert all(v.isfinite().all() for v in losses.values())
    (losses['loss_cls'] + losses['loss_bbox']).backward()
    assert not any(x.grad.isnan().any() for x in raw)


def runner_config(tmp_path, **head):
    cfg = tiny_config(str(tmp_path / 'data'))
    cfg.model = tiny_faster_rcnn_config(
        3, type='mmal.MDNShared2FCBBoxHead', box_components=2,
        cls_components=2, **head)
    cfg.work_dir = str(tmp_path / 'work')
    return cfg


@pytest.mark.run
def test_runner_trains_validates_and_checks_the_classes(tmp_path):
    cfg = runner_config(tmp_path)
    cfg.custom_hooks = [dict(type='NumClassCheckHook')]
    wrong = copy.deepcopy(cfg)
    wrong.model.roi_head.bbox_head.num_classes = 4
    cfg.experiment_name, wrong.experiment_name = 'right', 'wrong'
    runner = Runner.from_cfg(cfg)
    runner.train()
    log = runner.message_hub.log_scalars
    assert math.isfinite(log['train/loss_bbox'].current())
    assert 0 <= log['train/acc'].current() <= 100
    assert 'val/coco/bbox_mAP' in log
    with pytest.raises(AssertionError, match='num_classes'):
        Runner.from_cfg(wrong).train()


def test_inference_detector_works_from_a_config(tmp_path):
    from mmdet.apis import inference_detector, init_detector
    model = tiny_mdn_faster_rcnn()
    cfg = runner_config(tmp_path)
    path, weights = str(tmp_path / 'tiny.py'), str(tmp_path / 'tiny.pth')
    cfg.dump(path)
    torch.save(dict(state_dict=model.state_dict(), meta={}), weights)
    detector = init_detector(path, weights, device='cpu', palette='coco')
    picture = np.random.default_rng(0).integers(0, 255, (64, 80, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'picture.png'), picture)
    result = inference_detector(detector, str(tmp_path / 'picture.png'))
    found = result.pred_instances
    assert len(found) > 0 and {*FIELDS, 'class_probs'} <= set(found.keys())
    assert (found.bboxes <= torch.tensor([80., 64., 80., 64.]) + 1e-3).all()
    assert found.class_probs.shape == (len(found), 4)


@pytest.mark.parametrize('options, message', [
    (dict(loss_cls=dict(type='CrossEntropyLoss')),
     'loss_cls is CrossEntropyLoss, but cls_components is 3'),
    (dict(loss_bbox=dict(type='L1Loss')),
     'loss_bbox is L1Loss, but box_components is 3'),
    (dict(box_components=0, loss_bbox=dict(type='mmal.MixtureNLLLoss')),
     'loss_bbox is MixtureNLLLoss, but box_components is 0'),
    (dict(weighting=dict(), cls_components=0), 'cls_components is 0'),
    (dict(weighting=dict(beta=1)), "unknown key 'beta'"),
    (dict(reg_decoded_bbox=True), 'reg_decoded_bbox is True'),
    (dict(with_reg=False), 'with_cls and with_reg'),
    (dict(box_components=-1), 'box_components is -1')])
def test_options_that_do_not_fit_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make_head(**options)
