"""Heads with a Bayesian branch against plain heads and against loops."""
import copy
import math
import warnings

import pytest
import torch
import torch.distributed as dist
from helpers.tiny import build_detector, tiny_fcos_config
from helpers.tiny_one_stage import tiny_one_stage
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.dense_heads import ATSSHead
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmal.dist import close_dist
from mmal.models.dense_heads import UncertaintyBranchMixin
from mmal.models.dense_heads.branch_options import BranchOptions
from mmal.models.layers import UncertaintyBranch
from mmal.models.layers.bayes_conv import log_uniform_kl
from mmal.models.losses import UncertaintyRescaledLoss
from mmal.models.utils import head_outputs, image_losses, last_layers
from mmal.recorder import is_hooked
from mmal.scoring.batch import Batch
from mmal.scoring.dense.entropy_scorer import EntropyScorer
from mmal.scoring.dense.grad_scorer import GradScorer
from mmal.scoring.detector import dummy_batch, twice_differentiable

SIZE = 64
CLASSES = 3
BAYES = dict(
    yolov3='mmal.BayesYOLOV3Head',
    retina='mmal.BayesRetinaHead',
    fcos='mmal.BayesFCOSHead')
KINDS = list(BAYES)
LOGGED = {'branch_bald', 'branch_factor', 'branch_share', 'plain_share'}


@pytest.fixture(autouse=True)
def quiet():
    """mmengine logs each weight it initialises."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')
    yield
    logger.setLevel(level)


def plain(kind, **head):
    """The plain detector, in eval mode, with outputs that differ."""
    if kind != 'fcos':
        return tiny_one_stage(kind, **head)
    cfg = tiny_fcos_config()
    cfg['bbox_head'].update(head)
    return build_detector(cfg, 0, _widen_fcos).eval()


def _widen_fcos(model):
    for name in ('conv_cls', 'conv_centerness'):
        layer = getattr(model.bbox_head, name)
        nn.init.normal_(layer.weight, std=0.1)
        nn.init.normal_(layer.bias, std=0.3)


def bayes(kind, head=(), scale=0.1, **branch):
    """The same weights in a head with a branch that is not small."""
    branch['scale'] = scale
    model = plain(kind, type=BAYES[kind], branch=branch, **dict(head))
    model.load_state_dict(plain(kind, **dict(head)).state_dict(), strict=False)
    generator = torch.Generator().manual_seed(3)
    for name, weight in model.bbox_head.branch.named_parameters():
        if 'scale' not in name:
            nn.init.normal_(weight, std=0.3, generator=generator)
    return model


def batch(boxes=(2, 1), seed=0):
    """Random images with so many random boxes each."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(len(boxes), 3, SIZE, SIZE, generator=generator)
    samples = []
    for n in boxes:
        sample = dummy_batch(nn.Linear(1, 1), SIZE).samples[0]
        corner = torch.rand(n, 2, generator=generator) * 35
        side = 12 + torch.rand(n, 2, generator=generator) * 15
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + side], 1),
            labels=torch.randint(CLASSES, (n, ), generator=generator))
        samples.append(sample)
    return inputs, samples


def total(losses, *names):
    return sum(
        sum(v) if isinstance(v, list) else v for k, v in losses.items()
        if not names or k in names)


def losses_of(model, boxes=(2, 1)):
    inputs, samples = batch(boxes)
    torch.manual_seed(5)
    return model.train().loss(inputs, samples)


def main_name(kind):
    return 'loss_conf' if kind == 'yolov3' else 'loss_cls'


def prediction_layers(kind, head):
    return dict(
        yolov3=lambda: list(head.convs_pred),
        retina=lambda: [head.retina_cls] * 2,
        fcos=lambda: [head.conv_cls] * 2)[kind]()


# --- the losses by hand ---------------------------------------------------


def trunk(kind, head, feats):
    """What the prediction layers read."""
    if kind == 'yolov3':
        return [b(x) for b, x in zip(head.convs_bridge, feats)]
    maps = []
    for x in feats:
        for conv in head.cls_convs:
            x = conv(x)
        maps.append(x)
    return maps


def row_list(level, channels):
    """[[C floats] for each image, row, column and anchor]."""
    found = []
    for image in level:
        for y in range(image.shape[1]):
            for x in range(image.shape[2]):
                column = image[:, y, x].tolist()
                found += [column[i:i + channels]
                          for i in range(0, len(column), channels)]
    return found


def calls(kind, head, feats, samples):
    """(levels, one-hot targets, weights, divisor) of each call of the loss."""
    truth = [s.gt_instances for s in samples]
    metas = [s.metainfo for s in samples]
    sizes = [x.shape[-2:] for x in feats]
    if kind == 'fcos':
        points = head.prior_generator.grid_priors(sizes, device='cpu')
        labels = torch.cat(head.get_targets(points, truth)[0])
        positives = (labels < CLASSES).sum().item()
        hot = one_hot(labels)
        return [((0, 1), hot, [[1.0] * CLASSES] * len(hot), positives)]
    if kind == 'retina':
        anchors, flags = head.get_anchors(sizes, metas, 'cpu')
        labels, weights, _, _, factor = head.get_targets(
            anchors, flags, truth, metas)
        return [((i, ), one_hot(labels[i].flatten()),
                 [[w] * CLASSES for w in weights[i].flatten().tolist()],
                 factor) for i in range(2)]
    anchors = head.prior_generator.grid_priors(sizes, device='cpu')
    flags = [head.responsible_flags(sizes, t.bboxes, 'cpu') for t in truth]
    targets, negatives = head.get_targets([anchors] * len(truth), flags, truth)
    found = []
    for i, (target, negative) in enumerate(zip(targets, negatives)):
        hot = target[..., 4].flatten().tolist()
        weight = (negative.float() + target[..., 4]).flatten().tolist()
        found.append(((i, ), [[t] for t in hot], [[w] for w in weight],
                      len(hot)))
    return found


def one_hot(labels):
    return [[float(label == c) for c in range(CLASSES)]
            for label in labels.tolist()]


def cross_entropy(logit, target):
    p = 1 / (1 + math.exp(-logit))
    return -math.log(p if target else 1 - p)


def focal(logit, target):
    p = 1 / (1 + math.exp(-logit))
    if target:
        return -0.25 * (1 - p)**2 * math.log(p)
    return -0.75 * p**2 * math.log(1 - p)


def difficulty(pred, mean, std, target):
    """Eq. 2 and 3."""
    p = 0.5 * (1 + math.erf(mean / math.sqrt(2 * (std**2 + 1))))
    entropy = -sum(q * math.log2(q) for q in (p, 1 - p) if q > 0)
    c = math.sqrt(math.pi * math.log(2) / 2)
    both = std**2 + c * c
    bald = entropy - c / math.sqrt(both) * math.exp(-mean**2 / (2 * both))
    u = 1 / (1 + math.exp(-max(0, bald)))
    return 0.5 * u if (pred > 0) == bool(target) else 0.5 * (1 - u) + 0.5


@torch.no_grad()
def by_hand(kind, model, boxes=(2, 1), scale=0.1, normalize=False):
    """[(rescaled loss, loss of the branch)] of each call of the loss."""
    inputs, samples = batch(boxes)
    head = model.train().bbox_head
    feats = model.extract_feat(inputs)
    maps, raw = trunk(kind, head, feats), head(feats)[0]
    element = focal if kind == 'fcos' else cross_entropy
    channels = 1 if kind == 'yolov3' else CLASSES
    branches = [b[0] for b in head.branch] * 2
    torch.manual_seed(5)
    levels = []
    for level, (x, conv) in enumerate(zip(maps, branches)):
        k = conv.weight[:, :, 0, 0]
        mean = torch.einsum('oi,bihw->bohw', k, x) + conv.bias[:, None, None]
        std = torch.einsum('oi,bihw->bohw', scale * k**2, x**2).sqrt()
        drawn = mean + torch.randn(std.shape) * std
        pred = raw[level]
        if kind == 'yolov3':
            pred = pred.unflatten(1, (2, -1))[:, :, 4]
        levels.append([row_list(v, channels)
                       for v in (pred, mean, std, drawn)])
    found = []
    for used, hot, weights, divisor in calls(kind, head, feats, samples):
        rows = [sum((levels[i][j] for i in used), []) for j in range(4)]
        flat = [sum(v, []) for v in (*rows, hot, weights)]
        elements = list(zip(*flat))
        assert len({len(v) for v in flat}) == 1
        d = [difficulty(p, m, s, t) for p, m, s, _, t, _ in elements]
        mean = 1.
        if normalize:
            mean = sum(x * w for x, w in zip(d, flat[5])) / sum(flat[5])
        rescaled = sum(x / mean * w * element(p, t)
                       for x, (p, _, _, _, t, w) in zip(d, elements))
        own = sum(w * element(y, t) for _, _, _, y, t, w in elements)
        found.append((rescaled / divisor, own / divisor))
    return found


@pytest.mark.parametrize('normalize', [False, True])
@pytest.mark.parametrize('kind', KINDS)
def test_losses_are_those_of_a_computation_by_hand(kind, normalize):
    model = bayes(kind, loss_weight=0.5, rescale=dict(normalize=normalize))
    losses = losses_of(model)
    main = losses[main_name(kind)]
    main = main if isinstance(main, list) else [main]
    expected = by_hand(kind, model, normalize=normalize)
    assert len(main) == len(losses['loss_branch']) == len(expected)
    for found, own, (a, b) in zip(main, losses['loss_branch'], expected):
        assert found.item() == pytest.approx(a, rel=1e-4)
        assert own.item() == pytest.approx(0.5 * b, rel=1e-4)


@pytest.mark.parametrize('kind', KINDS)
def test_other_terms_are_the_plain_heads(kind):
    expected, found = losses_of(plain(kind)), losses_of(bayes(kind))
    assert set(found) == {*expected, 'loss_branch', *LOGGED}
    for name in set(expected) - {main_name(kind)}:
        assert total(found, name) == total(expected, name)
    name = main_name(kind)
    assert total(found, name) != total(expected, name)


@pytest.mark.parametrize('kind', KINDS)
def test_the_log_shows_what_rescaling_does(kind):
    expected, found = losses_of(plain(kind)), losses_of(bayes(kind))
    name = main_name(kind)
    before, after = total(expected, name), total(found, name)
    everything = total(expected)
    for key, value in dict(
            branch_factor=after / before, plain_share=before / everything,
            branch_share=after / (everything - before + after)).items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=0)
    assert 0 < found['branch_bald'] < 1
    _, log = bayes(kind).parse_losses(found)
    assert LOGGED <= set(log)
    torch.testing.assert_close(
        log['loss'], total(found, *(k for k in found if k not in LOGGED)))


def test_a_branch_that_is_never_uncertain_is_warned_of():
    wide, narrow = bayes('fcos', scale=1.), bayes('fcos', scale=1e-6)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        for _ in range(102):
            losses_of(wide)
        assert not caught
        for _ in range(102):
            losses_of(narrow)
    messages = [str(w.message) for w in caught]
    assert len(messages) == 1
    assert 'raise bbox_head.branch.scale (now 1e-06)' in messages[0]


# --- without the branch ---------------------------------------------------


def count_calls(model):
    called = []
    for module in model.bbox_head.branch.modules():
        module.register_forward_hook(lambda *args: called.append(args[0]))
    return called


@pytest.mark.parametrize('kind', KINDS)
def test_eval_mode_is_the_plain_head(kind):
    inputs, samples = batch()
    labels = [s.gt_instances for s in samples]
    expected, model = plain(kind), bayes(kind)
    called = count_calls(model)
    with torch.no_grad():
        for a, b in zip(*(m.predict(inputs, copy.deepcopy(samples))
                          for m in (expected, model))):
            a, b = a.pred_instances, b.pred_instances
            assert len(a) and torch.equal(a.bboxes, b.bboxes)
            assert torch.equal(a.scores, b.scores)
            assert torch.equal(a.labels, b.labels)
        a, b = (m.loss(inputs, samples) for m in (expected, model))
        assert set(a) == set(b) and total(a) == total(b)
    a, b = (image_losses(m, head_outputs(m, inputs), samples, labels)
            for m in (expected, model))
    # of the plain head all images are summed at once
    torch.testing.assert_close(a, b, rtol=1e-6, atol=0)
    assert a.gt(0).all()
    assert not called
    losses_of(model)
    assert called


@pytest.mark.parametrize('kind', KINDS)
def test_influence_sees_the_plain_head(kind):
    inputs, samples = batch()
    labels = [s.gt_instances for s in samples]
    grads = []
    models = plain(kind), bayes(kind)
    for model in models:
        layers = last_layers(model)
        weights = [model.get_submodule(n).weight for n in layers]
        with twice_differentiable(model.bbox_head):
            loss = image_losses(model, head_outputs(model, inputs), samples,
                                labels).sum()
            first = torch.autograd.grad(loss, weights, create_graph=True)
            second = torch.autograd.grad(
                sum(g.square().sum() for g in first), weights)
        grads.append((layers, first, second))
    assert grads[0][0] == grads[1][0]
    for a, b in zip(grads[0][1] + grads[0][2], grads[1][1] + grads[1][2]):
        # of the plain head all images are summed at once
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('scorer', [EntropyScorer, GradScorer])
def test_scorers_see_the_plain_head(kind, scorer):
    inputs, samples = batch()
    a, b = (scorer().process(m, Batch([0, 1], inputs, samples))
            for m in (plain(kind), bayes(kind)))
    assert set(a) == set(b) and a['score'].gt(0).all()
    assert torch.equal(a['score'], b['score'])
    assert torch.equal(a['class_scores'], b['class_scores'])


@pytest.mark.parametrize('kind', KINDS)
def test_losses_of_images_in_training_leave_the_branch_out(kind):
    """So mmal.LearningLossDetector learns those of the prediction layer."""
    model = bayes(kind)
    samples = batch()[1]
    with torch.no_grad():
        feats = model.train().extract_feat(batch()[0])
        model.bbox_head.loss(feats, samples)
        calls = count_calls(model)
        outputs = model.bbox_head(feats)
        image_losses(model, outputs, samples,
                     [s.gt_instances for s in samples])
    assert not calls


@pytest.mark.parametrize('kind', KINDS)
def test_loss_and_predict_trains_the_branch_too(kind):
    model = bayes(kind)
    inputs, samples = batch()
    feats = model.train().extract_feat(inputs)
    cfg = ConfigDict(model.test_cfg)
    torch.manual_seed(5)
    expected = model.bbox_head.loss(feats, samples)
    torch.manual_seed(5)
    losses, found = model.bbox_head.loss_and_predict(feats, samples, cfg)
    assert len(found) == 2
    for name in (main_name(kind), 'loss_branch'):
        assert total(losses, name) == total(expected, name)


def test_a_failed_loss_leaves_no_inputs_behind():
    model = bayes('retina').train()
    inputs, samples = batch()
    del samples[0].gt_instances.labels
    with pytest.raises(AttributeError):
        model.loss(inputs, samples)
    assert not any(is_hooked(m) for m in model.modules())
    called, (inputs, samples) = count_calls(model), batch()
    image_losses(model, head_outputs(model, inputs), samples,
                 [s.gt_instances for s in samples])
    assert not called
    assert 'loss_branch' in losses_of(model)


@pytest.mark.parametrize('kind', KINDS)
def test_checkpoints_load_both_ways(kind):
    simple, model = plain(kind), bayes(kind, layers=2, learn_scale=True)
    there = model.load_state_dict(simple.state_dict(), strict=False)
    back = simple.load_state_dict(model.state_dict(), strict=False)
    assert not there.unexpected_keys and not back.missing_keys
    assert there.missing_keys == back.unexpected_keys
    assert there.missing_keys
    assert all(k.startswith('bbox_head.branch.') for k in there.missing_keys)


def untouched(kind, **head):
    """As mmdet initialises it."""
    cfg = tiny_fcos_config()
    if kind == 'fcos':
        cfg['bbox_head'].update(head)
    else:
        from helpers.tiny_one_stage import HEADS
        bbox_head, train_cfg = HEADS[kind]
        cfg.update(type='SingleStageDetector', train_cfg=train_cfg,
                   bbox_head=dict(bbox_head, num_classes=CLASSES, **head))
    return build_detector(cfg)


@pytest.mark.parametrize('kind', KINDS)
def test_same_seed_same_weights_and_the_same_prior(kind):
    simple = untouched(kind)
    model = untouched(kind, type=BAYES[kind], branch=dict(layers=2))
    weights = model.state_dict()
    for name, value in simple.state_dict().items():
        assert torch.equal(value, weights[name]), name
    biases = [b[-1].bias for b in model.bbox_head.branch]
    for bias, layer in zip(biases, prediction_layers(kind, simple.bbox_head)):
        expected = layer.bias
        if kind == 'yolov3':
            expected = layer.bias.reshape(2, -1)[:, 4]
        assert torch.equal(bias, expected) and bias.lt(-3).all()
    for weight in model.bbox_head.branch.parameters():
        assert weight.dim() == 1 or 0.007 < weight.std() < 0.013


# --- gradients ------------------------------------------------------------


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {n: p.grad for n, p in model.named_parameters()
            if p.grad is not None and p.grad.any()}


@pytest.mark.parametrize('detach_input', [True, False])
@pytest.mark.parametrize('kind', KINDS)
def test_where_the_gradients_of_the_two_losses_go(kind, detach_input):
    model = bayes(kind, layers=2, learn_scale=True, detach_input=detach_input)
    branch = {n for n, _ in model.named_parameters() if '.branch.' in n}
    outputs = {f'{n}.{part}' for n in last_layers(model)
               for part in ('weight', 'bias')}
    losses = losses_of(model)
    own = gradients(model, total(losses, 'loss_branch'))
    assert branch <= set(own) and not outputs & set(own)
    assert any(n.startswith('backbone.') for n in own) != detach_input
    assert (branch == set(own)) == detach_input
    losses = losses_of(model)
    main = gradients(model, total(losses, main_name(kind)))
    assert not branch & set(main)
    assert outputs & set(main)
    assert any(n.startswith('backbone.') for n in main)


@pytest.mark.parametrize('kind', KINDS)
def test_the_divergence_widens_the_weights(kind):
    model = bayes(kind, layers=2, learn_scale=True, kl_weight=0.1)
    losses = losses_of(model)
    convs = [conv for branch in model.bbox_head.branch for conv in branch]
    expected = 0.1 * len(convs) * log_uniform_kl(torch.tensor(0.1))
    torch.testing.assert_close(losses['loss_branch_kl'], expected)
    grads = gradients(model, losses['loss_branch_kl'])
    assert len(grads) == len(convs)
    # a step against the gradient makes log λ larger
    assert all('log_scale' in n and g < 0 for n, g in grads.items())


@pytest.mark.parametrize('kind', KINDS)
def test_undetached_difficulty_reaches_the_branch(kind):
    model = bayes(kind, rescale=dict(detach=False))
    main = gradients(model, total(losses_of(model), main_name(kind)))
    assert any('.branch.' in n for n in main)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('boxes', [(0, 0), (0, 3), (1, )])
def test_images_without_boxes(kind, boxes):
    model = bayes(kind)
    losses = losses_of(model, boxes)
    grads = gradients(model, total(losses))
    assert total(losses).isfinite()
    assert all(g.isfinite().all() for g in grads.values())
    assert any('.branch.' in n for n in grads)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('branch', [
    dict(), dict(layers=2), dict(bayes=False), dict(rescale=False)])
def test_autocast(kind, branch):
    model = bayes(kind, **branch)
    exact = total(losses_of(model), 'loss_branch', main_name(kind))
    with torch.autocast('cpu', torch.bfloat16):
        losses = losses_of(model)
    grads = gradients(model, total(losses))
    assert all(g.isfinite().all() for g in grads.values())
    found = total(losses, 'loss_branch', main_name(kind))
    assert found.item() == pytest.approx(exact.item(), rel=0.05)


@pytest.mark.parametrize('kind', KINDS)
def test_ddp_finds_no_unused_parameter(kind, tmp_path):
    dist.init_process_group('gloo', rank=0, world_size=1,
                            init_method=f'file://{tmp_path}/rendezvous')
    try:
        model = bayes(kind, layers=2, learn_scale=True).train()
        parallel = DistributedDataParallel(model)
        for _ in range(2):
            total(parallel(*batch(), mode='loss')).backward()
        model.bbox_head.extra = nn.Conv2d(1, 1, 1)
        parallel = DistributedDataParallel(model)
        total(parallel(*batch(), mode='loss')).backward()
        with pytest.raises(RuntimeError, match='not used in producing loss'):
            parallel(*batch(), mode='loss')
    finally:
        close_dist()


# --- options --------------------------------------------------------------


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('branch', [
    dict(bayes=False), dict(bayes=False, layers=2), dict(rescale=False)])
def test_ablations_leave_the_main_loss(kind, branch):
    expected, model = losses_of(plain(kind)), bayes(kind, **branch)
    found = losses_of(model)
    for name in expected:
        assert total(found, name) == total(expected, name)
    grads = gradients(model, total(found, 'loss_branch'))
    names = {n for n, _ in model.named_parameters() if '.branch.' in n}
    assert names <= set(grads)


@pytest.mark.parametrize('kind', KINDS)
def test_a_plain_branch_draws_no_random_number(kind):
    model = bayes(kind, bayes=False)
    assert not any('scale' in n for n in model.bbox_head.branch.state_dict())
    inputs, samples = batch()
    before = torch.get_rng_state()
    model.train().loss(inputs, samples)
    assert torch.equal(torch.get_rng_state(), before)


def test_options_of_the_rescaled_loss():
    model = bayes('retina', rescale=dict(normalize=True))
    normal = total(losses_of(model), 'loss_cls')
    raw = total(losses_of(bayes('retina')), 'loss_cls')
    simple = total(losses_of(plain('retina')), 'loss_cls')
    assert 0.2 * simple < raw < 0.8 * simple and raw < normal


def test_a_loss_wrapped_by_the_config_is_taken_as_it_is():
    wrapped = dict(
        type='mmal.UncertaintyRescaledLoss', use_sigmoid=True,
        normalize=True,
        loss=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25))
    model = bayes('retina', head=dict(loss_cls=wrapped))
    assert isinstance(model.bbox_head.loss_cls, UncertaintyRescaledLoss)
    other = bayes('retina', rescale=dict(normalize=True), head=dict(
        loss_cls=wrapped['loss']))
    assert total(losses_of(model)) == total(losses_of(other))


@pytest.mark.parametrize('kind', KINDS)
def test_anchor_loss_can_be_rescaled(kind):
    loss = dict(type='mmal.AnchorLoss', use_sigmoid=True,
                objectness=kind == 'yolov3')
    model = bayes(kind, head={main_name(kind): loss})
    losses = losses_of(model)
    assert total(losses, 'loss_branch') > 0 and total(losses).isfinite()


@pytest.mark.parametrize('branch, message', [
    (dict(layer=2), "unknown key 'layer': give layers, "),
    (dict(layers=0), r'bbox_head\.branch\.layers is 0, must be an integer'),
    (dict(layers=2.0), r'layers is 2.0, must be an integer of at least 1'),
    (dict(channels=0), r'channels is 0, must be an integer of at least 1'),
    (dict(kernel_size=2), r'kernel_size is 2, must be odd'),
    (dict(scale=0), r'scale is 0, must be above 0'),
    (dict(samples=0), r'samples is 0, must be an integer of at least 1'),
    (dict(rescale=dict(normalise=False)),
     'a dict of normalize, detach, temperature'),
    (dict(kl_weight=-1.0, learn_scale=True), r'kl_weight is -1.0, must be >='),
    (dict(kl_weight=1.0), r'kl_weight is 1.0, must be 0 unless learn_scale'),
    (dict(rescale='yes'), "rescale is 'yes', must be a bool"),
    (dict(loss_weight=-1.0), r'loss_weight is -1.0, must be above 0'),
    (dict(bayes=False, rescale=True), r'rescale needs .* Bayesian'),
    (dict(bayes=False, rescale={}), r'rescale needs .* Bayesian'),
])
def test_wrong_options_are_explained(branch, message):
    with pytest.raises(ValueError, match=message):
        BranchOptions.of(branch)


def test_a_softmax_is_refused():
    with pytest.raises(ValueError, match='bbox_head.loss_cls is a CrossEntr'):
        plain('retina', type=BAYES['retina'],
              loss_cls=dict(type='CrossEntropyLoss'))


def test_a_head_that_was_not_told_of_the_sigmoid_is_refused():
    """FocalLoss has it by default, but RetinaHead asks the config."""
    with pytest.raises(ValueError, match='FocalLoss without use_sigmoid'):
        plain('retina', type=BAYES['retina'], loss_cls=dict(type='FocalLoss'))


@pytest.mark.parametrize('branch', [
    dict(rescale=False), dict(bayes=False), dict(rescale=dict(detach=False))
])
def test_options_beside_a_wrapped_loss_are_refused(branch):
    loss = dict(type='mmal.UncertaintyRescaledLoss', use_sigmoid=True,
                loss=dict(type='FocalLoss', use_sigmoid=True))
    with pytest.raises(ValueError, match='bbox_head.loss_cls is an Uncert'):
        bayes('fcos', head=dict(loss_cls=loss), **branch)


@pytest.mark.parametrize('rescale', [True, False])
def test_a_head_that_drops_positions_is_refused(rescale, monkeypatch):
    model = bayes('retina', rescale=rescale)
    loss = model.bbox_head.loss_by_feat_single

    def upper_half(*maps_and_targets, **kwargs):
        *maps, anchors = maps_and_targets[:3]
        rows, kept = maps[0].size(2) // 2, anchors.size(1) // 2
        return loss(*(x[:, :, :rows] for x in maps), anchors[:, :kept],
                    *(x[:, :kept] for x in maps_and_targets[3:]), **kwargs)

    monkeypatch.setattr(model.bbox_head, 'loss_by_feat_single', upper_half)
    with pytest.raises(ValueError, match='branch'):
        losses_of(model)


class BayesATSSHead(UncertaintyBranchMixin, ATSSHead):
    """The example of docs/convbayes.md."""

    def branched_layers(self):
        return [self.atss_cls]


def test_the_mixin_serves_other_heads():
    from mmal.registry import MODELS
    MODELS.register_module(module=BayesATSSHead)
    try:
        model = tiny_one_stage('atss', type='mmal.BayesATSSHead')
    finally:
        MODELS.module_dict.pop('BayesATSSHead')
    losses = losses_of(model)
    grads = gradients(model, total(losses, 'loss_branch'))
    assert len(losses['loss_branch']) == 2
    assert any('.branch.' in n for n in grads)
    assert losses.keys() == {
        *losses_of(plain('atss')), 'loss_branch', *LOGGED}


# --- moments --------------------------------------------------------------


@pytest.mark.parametrize('kind', KINDS)
def test_branch_moments(kind):
    model = bayes(kind, scale=0.4)
    inputs, _ = batch()
    before = torch.get_rng_state()
    with torch.no_grad():
        feats = model.extract_feat(inputs)
        found = model.bbox_head.branch_moments(feats)
        maps = trunk(kind, model.bbox_head, feats)
        one = model.bbox_head.branch_moments([x[:1] for x in feats])
    assert torch.equal(torch.get_rng_state(), before)
    branches = [b[0] for b in model.bbox_head.branch] * 2
    for (mean, std), (first, _), x, conv in zip(found, one, maps, branches):
        k = conv.weight[:, :, 0, 0]
        expected = torch.einsum('oi,bihw->bohw', k, x)
        expected = expected + conv.bias[:, None, None]
        assert torch.allclose(mean, expected, atol=1e-5)
        assert torch.allclose(
            std, torch.einsum('oi,bihw->bohw', 0.4 * k**2, x**2).sqrt(),
            atol=1e-5)
        assert torch.allclose(mean[:1], first, atol=1e-6)


def test_a_plain_branch_has_no_moments():
    model = bayes('fcos', bayes=False)
    with pytest.raises(ValueError, match='bbox_head.branch.bayes=True'):
        model.bbox_head.branch_moments(model.extract_feat(batch()[0]))


@pytest.mark.parametrize('size, layers', [(1, 2), (3, 2), (1, 3)])
def test_moments_of_several_layers_are_those_of_draws(size, layers):
    """Monte Carlo with eq. 1 in each layer; three layers approximately."""
    torch.manual_seed(0)
    branch = UncertaintyBranch(
        4, 2, layers=layers, channels=6, kernel_size=size, scale=0.5)
    x = torch.randn(1, 4, 3, 3)
    draws = 20000
    with torch.no_grad():
        mean, std = branch(x)
        y = x.expand(draws, -1, -1, -1)
        for i, conv in enumerate(branch):
            y = conv.sample(*conv.moments(y if i == 0 else y.relu()))
    tolerance = 0.05 if layers == 2 else 0.25
    assert torch.allclose(y.mean(0), mean[0], atol=0.02)
    assert torch.allclose(y.std(0), std[0], rtol=tolerance)


def test_one_more_layer_adds_its_uncertainty():
    torch.manual_seed(0)
    branch = UncertaintyBranch(4, 2, layers=2, channels=6)
    x = torch.randn(1, 4, 3, 3)
    _, std = branch(x)
    hidden, _ = branch[0].moments(x)
    _, last = branch[1].moments(hidden.relu())
    assert (std > last).all()


@settings(deadline=None, max_examples=30)
@given(
    layers=st.integers(1, 3),
    size=st.sampled_from([1, 3]),
    learn_scale=st.booleans(),
    magnitude=st.floats(0, 1e9),
    batch=st.integers(0, 2),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]))
def test_moments_and_gradients_are_finite(layers, size, learn_scale,
                                          magnitude, batch, dtype):
    branch = UncertaintyBranch(
        4, 2, layers=layers, channels=5, kernel_size=size,
        learn_scale=learn_scale)
    x = (torch.randn(batch, 4, 3, 2) * magnitude).requires_grad_()
    with torch.autocast('cpu', torch.bfloat16,
                        enabled=dtype == torch.bfloat16):
        mean, std = branch(x)
    assert mean.shape == std.shape == (batch, 2, 3, 2)
    assert mean.dtype == std.dtype == torch.float32
    (mean.sum() + std.sum()).backward()
    assert mean.isfinite().all() and std.isfinite().all()
    assert (std >= 0).all() and x.grad.isfinite().all()
    for weight in branch.parameters():
        assert weight.grad is None or weight.grad.isfinite().all()
