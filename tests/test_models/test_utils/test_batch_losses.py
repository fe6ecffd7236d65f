"""The loss of a batch in one call, against the head's loss image by image."""
import copy
from functools import partial

import pytest
import torch
from helpers.random_labels import random_labels
from helpers.tiny import tiny_fcos
from helpers.tiny_one_stage import tiny_one_stage
from helpers.tiny_ssd import tiny_ssd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmdet.models.dense_heads import FCOSHead
from mmdet.models.losses import FocalLoss, L1Loss
from mmengine.structures import InstanceData

from mmal.models.utils import per_image
from mmal.models.utils.batch_losses import (
    batch_losses,
    loss_factors,
    takes_batches,
)
from mmal.models.utils.per_image import head_outputs, image_losses
from mmal.scoring.detector import twice_differentiable
from mmal.scoring.isal.adapters import adapter_of, one_stage
from mmal.scoring.isal.box_curvature import box_curvature

_SUM = dict(reduction='sum')  # as in all configs of mmdet
_LOGITS = dict(_SUM, type='CrossEntropyLoss', use_sigmoid=True)
BUILD = dict(
    fcos=tiny_fcos,
    ssd=tiny_ssd,
    yolov3=partial(
        tiny_one_stage, 'yolov3', loss_cls=_LOGITS, loss_conf=_LOGITS,
        loss_xy=_LOGITS, loss_wh=dict(_SUM, type='MSELoss')),
    **{name: partial(tiny_one_stage, name)
       for name in ('retina', 'retina_softmax', 'atss', 'yolox')})
NORMALISED = [name for name in BUILD if not name.startswith('yolo')]
SIZE = 64


@pytest.fixture(scope='module')
def models():
    return {name: build() for name, build in BUILD.items()}


def make(counts, ignored, seed):
    """Images with so many boxes each, and boxes to leave out."""
    generator = torch.Generator().manual_seed(seed)
    samples, labels = random_labels(counts, ignored, SIZE, generator)
    x = torch.randn(len(counts), 3, SIZE, SIZE, generator=generator)
    return x, samples, labels


def gradients(value, inputs, **kwargs):
    grads = torch.autograd.grad(value, inputs, allow_unused=True, **kwargs)
    return [torch.zeros_like(x) if g is None else g
            for x, g in zip(inputs, grads)]


def one_by_one(function, *args):
    """The same without the batch's loss."""
    with pytest.MonkeyPatch.context() as m:
        for module in (per_image, one_stage):
            m.setattr(module, 'takes_batches', lambda head: False)
        return function(*args)


def compare(model, function, x, *args):
    """Losses and their gradients by the outputs, both ways."""
    found = []
    for how in (lambda f, *a: f(*a), one_by_one):
        outputs = [[y.detach().requires_grad_() for y in level]
                   for level in head_outputs(model, x)]
        losses = how(function, outputs, *args)
        weights = torch.arange(1., len(losses) + 1)
        found.append((losses, gradients(
            (losses * weights).sum(),
            [y for level in outputs for y in level])))
    (losses, grads), (expected, expected_grads) = found
    torch.testing.assert_close(losses, expected, rtol=1e-6, atol=1e-6)
    for grad, other in zip(grads, expected_grads):
        assert (grad - other).abs().max() <= 1e-6 * max(
            1, float(other.abs().max()))


@pytest.mark.parametrize('name', BUILD)
@settings(deadline=None, max_examples=12,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counts=st.lists(st.integers(0, 5), min_size=1, max_size=4),
       ignored=st.lists(st.none() | st.integers(0, 2), min_size=4,
                        max_size=4),
       seed=st.integers(0, 10**6))
def test_losses_are_those_of_each_image_alone(
        name, models, mmdet_scope, counts, ignored, seed):
    model = models[name]
    assert takes_batches(model.bbox_head)
    x, samples, labels = make(counts, ignored, seed)
    compare(model, lambda outputs: image_losses(
        model, outputs, samples, labels), x)
    adapter = adapter_of(model, 0)
    compare(model, lambda outputs: adapter.pseudo_label_losses(
        outputs, samples, labels), x)


@pytest.mark.parametrize('name', BUILD)
def test_the_head_is_asked_once(name, models, mmdet_scope, monkeypatch):
    model, calls = models[name], []
    whole = type(model.bbox_head).loss_by_feat
    monkeypatch.setattr(
        type(model.bbox_head), 'loss_by_feat',
        lambda self, *args, **kwargs: calls.append(1) or whole(
            self, *args, **kwargs))
    x, samples, labels = make([2, 0, 3], [None] * 3, 0)
    adapter_of(model, 0).pseudo_label_losses(
        head_outputs(model, x), samples, labels)
    assert len(calls) == 1


def test_heads_that_may_sum_up_otherwise_go_image_by_image(mmdet_scope):
    class Other(FCOSHead):
        pass

    class OtherLoss(FocalLoss):
        pass

    def model_of(head):
        return torch.nn.ModuleList([head])

    head = tiny_fcos().bbox_head
    assert takes_batches(head)
    head.loss_bbox.forward = head.loss_bbox.forward
    assert not takes_batches(head)
    with box_curvature(model_of(head), 0.02):  # around one that is replaced
        assert not takes_batches(head)
    head = tiny_fcos().bbox_head
    head.__class__ = Other
    assert not takes_batches(head)
    head = tiny_fcos().bbox_head
    head.loss_cls.__class__ = OtherLoss
    assert not takes_batches(head)
    head = tiny_fcos().bbox_head
    head.loss_bbox = L1Loss(reduction='sum')
    assert not takes_batches(head)


def targets(samples, labels):
    return ([s.metainfo for s in samples], labels,
            [s.get('ignored_instances') for s in samples])


def whole_loss(model, outputs, samples, labels):
    """What training minimises for a batch."""
    metas, labels, ignored = targets(samples, labels)
    return float(model.parse_losses(model.bbox_head.loss_by_feat(
        *outputs, labels, metas,
        [InstanceData(bboxes=torch.zeros(0, 4)) if i is None else i
         for i in ignored]))[0])


@pytest.mark.parametrize('name,counts', [
    ('fcos', (2, 0, 5, 1)), ('fcos', (0, 3, 0, 0)), ('fcos', (4, )),
    ('retina', (2, 1, 5)), ('retina_softmax', (3, 5)),
    ('atss', (2, 3, 5)), ('ssd', (2, 3, 1))])
@pytest.mark.parametrize('slowly', (False, True))
def test_mean_factors_give_the_loss_that_training_minimises(
        name, counts, slowly, models, mmdet_scope):
    model = models[name].train()  # outputs as its loss takes them
    x, samples, labels = make(counts, [None, 1, 0, 2], seed=1)
    with torch.no_grad():
        outputs = head_outputs(model, x)
    model.eval().bbox_head.train()
    adapter = adapter_of(model, 0)
    numbers = adapter.loss_factors(
        [[torch.zeros_like(y) for y in level] for level in outputs], samples,
        labels)
    adapter.factors = {k: float(n.mean()) for k, n in numbers.items()}
    assert all(number[i] == 0 for number in numbers.values()
               for i, count in enumerate(counts) if not count)

    expected = whole_loss(model, outputs, samples, labels)
    args = adapter.image_losses, outputs, samples, labels
    losses = one_by_one(*args) if slowly else args[0](*args[1:])
    assert losses.shape == (len(counts), )
    assert float(losses.mean()) == pytest.approx(expected, rel=1e-5)
    model.eval()


@pytest.mark.parametrize('name', ('retina', 'ssd'))
def test_anchors_count_an_image_without_objects_as_one_in_training(
        name, models, mmdet_scope):
    model, counts = models[name], (2, 0, 0)
    x, samples, labels = make(counts, [None] * 3, seed=2)
    with torch.no_grad():
        outputs = head_outputs(model, x)
    args = model.bbox_head, outputs, *targets(samples, labels)
    numbers = loss_factors(*args)
    assert numbers['loss_cls'].tolist()[1:] == [0, 0]
    factors = {k: float(n.clamp(min=1).mean()) for k, n in numbers.items()}
    assert float(batch_losses(*args, factors).mean()) == pytest.approx(
        whole_loss(model, outputs, samples, labels), rel=1e-5)


@pytest.mark.parametrize('name', NORMALISED)
def test_no_factors_where_there_is_no_object_at_all(name, models,
                                                    mmdet_scope):
    model = models[name]
    x, samples, labels = make((0, 0), [None, 1], seed=3)
    outputs = head_outputs(model, x)
    args = model.bbox_head, outputs, *targets(samples, labels)
    numbers = loss_factors(*args)
    assert all(n.tolist() == [0, 0] and not n.requires_grad
               for n in numbers.values())
    with pytest.raises(ValueError, match="the factor of 'loss_cls' is 0.0"):
        batch_losses(*args, {k: float(n.mean()) for k, n in numbers.items()})
    with pytest.raises(ValueError, match="'loss_bbox' is None"):
        batch_losses(*args, dict(loss_cls=2.))


def _other_fcos():
    class Other(FCOSHead):
        pass

    model = tiny_fcos()
    model.bbox_head.__class__ = Other
    return model


@pytest.mark.parametrize('build,name', [
    (_other_fcos, 'Other'), (BUILD['yolov3'], 'YOLOV3Head'),
    (BUILD['yolox'], 'YOLOXHead')])
def test_no_factors_of_heads_that_labels_do_not_divide(build, name,
                                                       mmdet_scope):
    model = build()
    x, samples, labels = make((1, ), [None], seed=0)
    outputs = head_outputs(model, x)
    assert adapter_of(model).loss_factors(outputs, samples, labels) is None
    with pytest.raises(ValueError, match=f'losses of {name} in training'):
        image_losses(model, outputs, samples, labels, dict(loss_cls=1.))


def test_half_precision_does_not_round_the_numbers(models, mmdet_scope):
    head, size = copy.deepcopy(models['fcos'].bbox_head), 336
    head.center_sampling = False  # all points in a box are positives
    shapes = [(channels, size // stride) for channels in (3, 4, 1)
              for stride in head.strides]
    numbers = []
    for dtype in (torch.float32, torch.bfloat16):
        maps = [torch.zeros(1, c, n, n, dtype=dtype) for c, n in shapes]
        labels = InstanceData(
            bboxes=torch.tensor([[1., 1., 334., 300.]], dtype=dtype),
            labels=torch.zeros(1, dtype=torch.long))
        numbers.append(float(loss_factors(
            head, (maps[:2], maps[2:4], maps[4:]), [{}], [labels],
            [None])['loss_cls']))
    assert numbers == [399, 399]


@pytest.mark.parametrize('name', NORMALISED)
def test_curvature_is_that_of_each_image_alone(name, models, mmdet_scope):
    model = models[name]
    x, samples, labels = make((2, 0, 4), [None, 1, None], seed=5)
    found = []
    for how in (lambda f, *a: f(*a), one_by_one):
        outputs = [[y.detach().requires_grad_() for y in level]
                   for level in head_outputs(model, x)]
        flat = [y for level in outputs for y in level]
        with twice_differentiable(model), box_curvature(model, 0.02):
            assert takes_batches(model.bbox_head)
            losses = how(image_losses, model, outputs, samples, labels)
            first = gradients(losses.sum(), flat, create_graph=True)
            # one product with the second derivatives
            generator = torch.Generator().manual_seed(0)
            slope = sum((g * torch.randn(g.shape, generator=generator)).sum()
                        for g in first)
            second = gradients(slope, flat)
        found.append([t.detach() for t in (losses, *first, *second)])
    for value, expected in zip(*found):
        scale = max(1, float(expected.abs().max()))
        assert (value - expected).abs().max() <= 1e-5 * scale
    assert any(g.any() for g in found[0][-len(flat):])


@pytest.mark.parametrize('name', NORMALISED)
def test_factors_hold_where_losses_are_made_twice_differentiable(
        name, models, mmdet_scope):
    model, factors = models[name], dict(
        loss_cls=3., loss_bbox=5., loss_centerness=7.)
    x, samples, labels = make((2, 0, 4), [None] * 3, seed=4)
    args = model, head_outputs(model, x), samples, labels, factors
    expected = image_losses(*args)
    with twice_differentiable(model), box_curvature(model, 0.02):
        losses = image_losses(*args)
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-6)
