"""The detector with a loss head against the plain detector."""
import copy
from collections import Counter

import pytest
import torch
import torch.distributed as dist
from helpers.forks import fork_two
from helpers.runs import succeeded
from helpers.tiny import build_detector, tiny_fcos_config
from helpers.tiny_ssd import tiny_ssd_config
from mmdet.structures import DetDataSample
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData

from mmal.dist import close_dist
from mmal.models.utils import head_outputs, image_losses

SIZE = (64, 96)


def fcos(norm='GN'):
    cfg = tiny_fcos_config()
    if norm == 'BN':
        cfg['bbox_head']['norm_cfg'] = dict(type='BN')
    return cfg


def retina():
    cfg = tiny_fcos_config()
    cfg.update(
        type='RetinaNet',
        bbox_head=dict(
            type='RetinaHead',
            num_classes=3,
            in_channels=16,
            feat_channels=16,
            stacked_convs=1,
            anchor_generator=dict(
                type='AnchorGenerator',
                octave_base_scale=2,
                scales_per_octave=1,
                ratios=[1.0],
                strides=[8, 16])),
        train_cfg=dict(
            assigner=dict(
                type='MaxIoUAssigner',
                pos_iou_thr=0.5,
                neg_iou_thr=0.4,
                min_pos_iou=0,
                ignore_iof_thr=-1),
            sampler=dict(type='PseudoSampler'),
            allowed_border=-1,
            pos_weight=-1))
    return cfg


def mdn():
    """Draws noise for its classification loss in training mode."""
    return tiny_ssd_config(
        type='mmal.MDNSSDHead', cls_components=2, box_components=2)


CONFIGS = dict(
    fcos=fcos, fcos_bn=lambda: fcos('BN'), retina=retina,
    ssd=tiny_ssd_config, mdn=mdn)
every_detector = pytest.mark.parametrize('name', CONFIGS)


def extended(cfg, **kwargs):
    """What a user writes over the config of a plain detector."""
    return dict(
        copy.deepcopy(cfg), type='mmal.LearningLossDetector', **kwargs)


def pair(name='fcos', **kwargs):
    """A plain detector and its extension, of the same seed."""
    cfg = CONFIGS[name]()
    return (build_detector(copy.deepcopy(cfg)),
            build_detector(extended(cfg, **kwargs)))


def batch(boxes=(2, 0, 5, 1), seed=0):
    g = torch.Generator().manual_seed(seed)
    inputs = torch.randn(len(boxes), 3, *SIZE, generator=g)
    return inputs, [sample(n, g) for n in boxes]


def sample(number, generator):
    corner = torch.rand(number, 2, generator=generator) * 40
    size = 8 + torch.rand(number, 2, generator=generator) * 24
    data = DetDataSample(
        metainfo=dict(
            img_shape=SIZE,
            ori_shape=SIZE,
            pad_shape=SIZE,
            batch_input_shape=SIZE,
            scale_factor=(1., 1.)))
    data.gt_instances = InstanceData(
        bboxes=torch.cat([corner, corner + size], 1),
        labels=torch.randint(3, (number, ), generator=generator))
    return data


def equal(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=0)


@every_detector
def test_the_same_seed_gives_the_weights_of_the_plain_detector(name):
    plain, model = pair(name)
    own = model.state_dict()
    for key, value in plain.state_dict().items():
        equal(own[key], value)
    added = set(own) - set(plain.state_dict())
    assert added and all(k.startswith('loss_head.') for k in added)


@every_detector
def test_losses_and_training_are_those_of_the_plain_detector(name):
    """Weights, batch norm statistics and random numbers after three steps."""
    plain, model = pair(name)
    trained = []
    for detector in (plain, model):
        torch.manual_seed(0)
        optimizer = OptimWrapper(
            torch.optim.SGD(detector.parameters(), lr=0.01))
        terms = []
        for step in range(3):
            losses = detector.loss(*batch(seed=step))
            optimizer.update_params(detector.parse_losses(losses)[0])
            losses.pop('loss_rank', None)
            terms.append(losses)
        trained.append((terms, detector.state_dict(), torch.rand(3)))
    (expected, weights, drawn), (found, own, own_drawn) = trained
    equal(found, expected)
    equal({k: own[k] for k in weights}, weights)
    equal(own_drawn, drawn)


@pytest.mark.parametrize('name', ['fcos', 'retina', 'ssd'])
def test_targets_are_the_losses_an_image_has_alone(name):
    plain, model = pair(name)
    plain.backbone.eval()  # statistics of a batch would join the images
    model.backbone.eval()
    inputs, samples = batch()
    seen = []
    model.loss_head.loss = lambda maps, losses: seen.append(losses) or {}
    model.loss(inputs, samples)
    assert not seen[0].requires_grad
    for i, one in enumerate(samples):
        terms = plain.loss(inputs[i:i + 1], [one])
        expected = plain.parse_losses(terms)[0].detach()
        torch.testing.assert_close(seen[0][i], expected, rtol=1e-5, atol=1e-6)


def test_image_losses_are_the_same_from_outputs_of_either_mode():
    plain, _ = pair('fcos')
    plain.bbox_head.conv_reg.bias.data.fill_(1.)  # off the clamp at 0
    plain.backbone.eval()
    inputs, samples = batch()
    labels = [s.gt_instances for s in samples]
    losses = []
    for mode in (True, False):
        plain.bbox_head.train(mode)
        outputs = head_outputs(plain, inputs)
        losses.append(image_losses(plain, outputs, samples, labels))
    torch.testing.assert_close(*losses)


@every_detector
def test_predictions_are_those_of_the_plain_detector(name):
    plain, model = (m.eval() for m in pair(name))
    inputs, samples = batch()
    calls = []
    model.loss_head.register_forward_hook(lambda *args: calls.append(args))
    with torch.no_grad():
        expected = plain.predict(inputs, copy.deepcopy(samples))
        found = model.predict(inputs, samples)
    assert not calls
    for a, b in zip(found, expected):
        for field, value in b.pred_instances.items():
            equal(a.pred_instances[field], value)


def test_the_detector_runs_once():
    """No module more often than in the plain detector, no loss head more."""
    counts = []
    for model in pair():
        calls = Counter()
        for name, module in model.named_modules():
            module.register_forward_hook(
                lambda *_, name=name, calls=calls: calls.update([name]))
        model.loss(*batch())
        counts.append(calls)
    plain, own = counts
    losses = {k for k in own if k.startswith('bbox_head.loss_')}
    added = {k for k in own if k.startswith('loss_head')}
    assert own['loss_head'] == 1 and losses and len(plain) > 20
    rest = own.keys() - losses - added
    assert {k: own[k] for k in rest} == \
        {k: plain[k] for k in plain.keys() - losses}


@every_detector
def test_checkpoints_fit_both_ways(name, tmp_path):
    from mmengine.runner import load_checkpoint
    plain, model = pair(name)
    path = str(tmp_path / 'plain.pth')
    with torch.no_grad():
        for p in plain.parameters():
            p.add_(1)
    torch.save(dict(state_dict=plain.state_dict()), path)
    load_checkpoint(model, path)
    own = model.state_dict()
    equal({k: own[k] for k in plain.state_dict()}, plain.state_dict())
    _, unexpected = plain.load_state_dict(own, strict=False)
    assert all(k.startswith('loss_head.') for k in unexpected)


@pytest.mark.parametrize('boxes', [(2, 0, 5, 1), (2, ), (0, ), (1, 0, 3)])
@pytest.mark.parametrize('options', [
    dict(),
    dict(loss_head=dict(detach=False)),
    dict(features='backbone', loss_head=dict(in_channels=[16, 32]))
])
def test_every_weight_has_a_finite_gradient(boxes, options):
    model = pair('fcos', **options)[1]
    losses = model.loss(*batch(boxes))
    total, log = model.parse_losses(losses)
    total.backward()
    assert log['loss_rank'] == 0 if len(boxes) == 1 else log['loss_rank'] > 0
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize('features, detach, reached', [
    ('neck', True, ()), ('neck', False, ('backbone', 'neck')),
    ('backbone', True, ()), ('backbone', False, ('backbone', ))
])
def test_where_the_ranking_gradient_stops(features, detach, reached):
    model = pair('fcos', features=features, loss_head=dict(
        in_channels=[16, 32] if features == 'backbone' else [16, 16],
        detach=detach))[1]
    model.loss(*batch())['loss_rank'].backward()
    parts = {
        name.split('.')[0]
        for name, p in model.named_parameters()
        if p.grad is not None and p.grad.abs().sum() > 0
    }
    assert parts == {*reached, 'loss_head'}


@pytest.mark.parametrize('options', [
    dict(), dict(features='backbone', loss_head=dict(in_channels=[16, 32]))
])
def test_predicted_losses_are_those_of_training(options):
    model = pair('fcos', **options)[1].eval()
    inputs, samples = batch()
    seen = []
    model.loss_head.register_forward_hook(lambda m, a, out: seen.append(out))
    model.loss(inputs, samples)
    equal(model.predict_losses(inputs), seen[0])
    assert seen[0].shape == (4, )


def test_a_detector_without_a_neck():
    cfg = extended(fcos(), loss_head=dict(in_channels=[16, 32]))
    del cfg['neck']
    cfg['bbox_head']['in_channels'] = 16
    model = build_detector(cfg)
    assert not model.with_neck
    assert model.predict_losses(batch()[0]).shape == (4, )


@pytest.mark.parametrize('neck, channels', [
    (dict(type='FPN', in_channels=[16, 32], out_channels=16, num_outs=3),
     [16] * 3),
    (dict(type='YOLOXPAFPN', in_channels=[16, 32], out_channels=16),
     [16, 16]),
    (dict(type='FPN', in_channels=[16, 32], out_channels=16, num_outs=2),
     [16, 16]),
    (tiny_ssd_config()['neck'], [16, 32, 32]),
])
def test_channels_of_the_neck_are_taken_from_its_config(neck, channels):
    cfg = extended(fcos())
    cfg['neck'] = neck
    model = build_detector(cfg)
    assert model.loss_head.in_channels == channels
    assert model.predict_losses(batch()[0]).shape == (4, )


def test_mixed_precision():
    model = pair()[1]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = model.loss(*batch())
        total = model.parse_losses(losses)[0]
    total.backward()
    assert losses['loss_rank'].dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_learns_to_rank_the_images_it_sees():
    model = pair('fcos', loss_head=dict(hidden=16))[1]
    optimizer = torch.optim.Adam(model.loss_head.parameters(), lr=0.01)
    inputs, samples = batch()
    history = []
    for _ in range(60):
        loss = model.loss(inputs, samples)['loss_rank']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[0] > 0.5 and history[-1] < 0.05


@pytest.mark.parametrize('options, message', [
    (dict(features='fpn'), "model.features is 'fpn': choose one of 'neck'"),
    (dict(features='backbone'), 'in_channels must be given.* of the backbone'),
    (dict(neck=None), 'in_channels must be given.* of the neck'),
    (dict(neck=[fcos()['neck']]), 'in_channels must be given'),
    (dict(loss_head=dict(detach=0.8)), 'model.loss_head.detach is 0.8'),
])
def test_mistakes_are_explained(options, message):
    with pytest.raises(ValueError, match=message):
        build_detector({**extended(fcos()), **options})


def test_a_head_whose_loss_bypasses_forward_is_named():
    model = pair()[1]
    model.bbox_head.loss = lambda x, samples: {}
    with pytest.raises(TypeError, match='FCOSHead.loss does not call'):
        model.loss(*batch())


def one_of_two_processes():
    dist.init_process_group('gloo')
    model = torch.nn.parallel.DistributedDataParallel(pair()[1])
    inputs, samples = batch((1, ) if dist.get_rank() else (2, 0, 5))
    for _ in range(2):
        model.zero_grad()
        terms = model(inputs, samples, mode='loss')
        model.module.parse_losses(terms)[0].backward()
    grads = torch.cat([p.grad.flatten() for p in model.parameters()])
    both = [torch.zeros_like(grads) for _ in range(2)]
    dist.all_gather(both, grads)
    assert torch.equal(*both) and grads.isfinite().all()
    close_dist()


def test_two_processes_with_different_numbers_of_images():
    """With batches of 1 and 3 images nothing hangs, no parameter is unused,
    and both have the same gradients."""
    if torch.cuda.is_available():
        pytest.skip('threads of autograd on a GPU do not survive a fork')
    for done in fork_two(one_of_two_processes, timeout=240):
        succeeded(done)
