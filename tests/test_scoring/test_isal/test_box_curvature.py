"""The curvature of box losses against closed forms and integration."""
from functools import partial

import pytest
import torch
from helpers.tiny import tiny_fcos
from helpers.tiny_detr import tiny_detr
from helpers.tiny_faster_rcnn import tiny_faster_rcnn
from helpers.tiny_one_stage import tiny_one_stage
from mmdet.models.losses import (
    CIoULoss,
    DIoULoss,
    GIoULoss,
    IoULoss,
    L1Loss,
    SmoothL1Loss,
)
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import nn

from mmal.models.utils import head_outputs, image_losses
from mmal.scoring.isal.box_curvature import box_curvature

STEP = 0.02


class Head(nn.Module):
    """What a loss hangs on."""

    def __init__(self, loss, stds=None, decoded=False):
        super().__init__()
        self.loss_bbox = loss
        self.reg_decoded_bbox = decoded
        self.bbox_coder = nn.Module()
        if stds:
            self.bbox_coder.stds = stds


def boxes(count=6, seed=0, noise=3.):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 40
    size = 20 + torch.rand(count, 2, generator=generator) * 30
    target = torch.cat([corner, corner + size], 1).double()
    moved = noise * torch.randn(
        count, 4, generator=generator, dtype=torch.float64)
    return target + moved, target


def hessian(loss, pred, target, step=STEP, **kwargs):
    """[n, 4, 4] that autograd finds inside the context."""
    with box_curvature(Head(loss, **kwargs), step):
        return torch.stack([
            torch.autograd.functional.hessian(
                lambda p, i=i: loss(p, target[i:i + 1],
                                    reduction_override='sum'),
                pred[i:i + 1]).view(4, 4)
            for i in range(len(pred))
        ])


@pytest.mark.parametrize('loss_type',
                         [IoULoss, GIoULoss, CIoULoss, L1Loss, SmoothL1Loss])
@pytest.mark.parametrize('weight', [None, 'box', 'side'])
@pytest.mark.parametrize('reduction, factor', [('sum', None), ('mean', None),
                                               ('mean', 7.), ('none', None)])
def test_values_and_gradients_are_unchanged(loss_type, weight, reduction,
                                            factor):
    if loss_type in (L1Loss, SmoothL1Loss) and weight == 'box':
        weight = 'side'
    pred, target = boxes()
    weights = torch.tensor([1., 0., 2., .5, 0., 1.]).double()
    if weight == 'side':
        weights = weights[:, None].expand(-1, 4)
    weights = None if weight is None else weights
    loss, found = loss_type(loss_weight=3., reduction=reduction), []
    for step in (0., STEP):
        with box_curvature(Head(loss), step):
            leaf = pred.clone().requires_grad_()
            value = loss(leaf, target, weights, avg_factor=factor)
            gradient, = torch.autograd.grad(value.sum(), leaf)
            found += [value.detach(), gradient]
    torch.testing.assert_close(found[2], found[0])
    torch.testing.assert_close(found[3], found[1])
    assert found[1].any()


@pytest.mark.parametrize('reduction, factor', [('sum', None), ('mean', None),
                                               ('mean', 7.)])
@pytest.mark.parametrize('loss_type, per_box', [(GIoULoss, 1), (L1Loss, 4)])
def test_curvature_is_divided_as_the_loss_is(loss_type, per_box, reduction,
                                             factor):
    pred, target = boxes(noise=.1)
    loss = loss_type(loss_weight=3., reduction=reduction)
    single = hessian(loss_type(), pred, target).sum(0)
    with box_curvature(Head(loss), STEP):
        whole = torch.autograd.functional.hessian(
            lambda p: loss(p, target, avg_factor=factor), pred)
    divisor = factor or len(pred) * per_box
    divisor = 1 if reduction == 'sum' else divisor
    torch.testing.assert_close(
        whole.sum((0, 2)), 3 * single / divisor, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize('loss_type', [IoULoss, GIoULoss, DIoULoss])
def test_away_from_kinks_short_steps_give_the_second_derivative(loss_type):
    pred, target = boxes()
    loss = loss_type()
    raw = hessian(loss, pred, target, 0.)
    found = hessian(loss, pred, target, 1e-5)
    torch.testing.assert_close(found, raw, rtol=1e-5, atol=1e-7)
    assert raw.abs().max() > 1e-4


@pytest.mark.parametrize('loss_type', [IoULoss, GIoULoss, CIoULoss])
def test_it_is_the_curvature_of_the_loss_averaged_over_steps(loss_type):
    """By numeric integration, along each side, across its kink."""
    pred, target = boxes(2, noise=.2)
    loss = loss_type(reduction='sum')
    found = hessian(loss, pred, target)
    sides = (target[:, 2:] - target[:, :2]).repeat(1, 2)
    nodes = 4001
    for i in range(2):
        for side in range(4):
            h = float(STEP * sides[i, side])
            reach = torch.linspace(-1, 1, nodes, dtype=torch.float64) * h
            # second derivative of the mean, by differences wide enough for
            # the grid and far below h
            delta = h / 10
            means = []
            for centre in (-delta, 0., delta):
                line = pred[i].repeat(nodes, 1)
                line[:, side] += reach + centre
                values = loss(
                    line, target[i].expand_as(line),
                    reduction_override='none')
                means.append(torch.trapezoid(values, reach) / (2 * h))
            second = (means[0] - 2 * means[1] + means[2]) / delta**2
            assert found[i, side, side] == pytest.approx(
                float(second), rel=.05, abs=1e-4)


def test_of_l1_it_is_one_over_the_step_around_the_kink():
    target = torch.zeros(3, 4).double()
    pred = torch.tensor([[.01, -.01, .03, 0.], [.05, .05, .05, .05],
                         [-.19, -.21, -.01, .0]]).double()
    found = hessian(L1Loss(), pred, target)
    inside = (pred.abs() < STEP).double()
    torch.testing.assert_close(found, torch.diag_embed(inside / STEP))
    found = hessian(L1Loss(), pred, target, stds=(.1, .1, .2, .2))
    steps = STEP / torch.tensor([.1, .1, .2, .2])
    torch.testing.assert_close(
        found, torch.diag_embed((pred.abs() < steps) / steps).double())


def test_of_l1_of_boxes_steps_are_shares_of_the_label():
    _, target = boxes(2)
    sides = (target[:, 2:] - target[:, :2]).repeat(1, 2)
    found = hessian(L1Loss(), target + 1e-3, target, decoded=True)
    torch.testing.assert_close(found, torch.diag_embed(1 / (STEP * sides)))


def test_losses_of_other_kinds_are_left_alone():
    head = Head(L1Loss())
    del head.bbox_coder
    with box_curvature(head, STEP):
        assert 'forward' not in vars(head.loss_bbox)
    head = Head(nn.MSELoss())
    with box_curvature(head, STEP):
        assert 'forward' not in vars(head.loss_bbox)


def test_losses_are_restored_also_after_an_error():
    head = Head(GIoULoss())
    with pytest.raises(KeyError), box_curvature(head, STEP):
        assert 'forward' in vars(head.loss_bbox)
        raise KeyError
    assert 'forward' not in vars(head.loss_bbox)


def test_contexts_can_be_nested_and_keep_what_was_there():
    head = Head(GIoULoss())
    own = head.loss_bbox.forward = partial(head.loss_bbox.forward)
    with box_curvature(head, STEP), box_curvature(head, STEP):
        assert head.loss_bbox.forward is not own
    assert head.loss_bbox.forward is own


def test_curvature_of_losses_kept_for_each_box():
    pred, target = boxes(noise=.1)
    weight = torch.tensor([1., 0., 2., .5, 0., 1.]).double()
    loss = GIoULoss()
    with box_curvature(Head(loss), STEP):
        kept, summed = (torch.autograd.functional.hessian(
            lambda p, r=r: loss(p, target, weight, reduction_override=r).sum(),
            pred) for r in ('none', 'sum'))
    torch.testing.assert_close(kept, summed)
    assert summed.abs().max() > 0.1


@pytest.mark.parametrize('head', ['retina', 'atss', 'gfl', 'yolox', 'fcos'])
def test_heads_of_mmdet_keep_their_losses_and_gradients(head):
    model = tiny_fcos() if head == 'fcos' else tiny_one_stage(head)
    inputs, found = torch.randn(2, 3, 64, 64), []
    sizes = dict.fromkeys(
        ('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'), (64, 64))
    labels = [
        InstanceData(
            bboxes=torch.tensor([[4., 6., 40., 50.], [20., 8., 60., 30.]]),
            labels=torch.tensor([0, 2])),
        InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long())
    ]
    for step in (0., STEP):
        with box_curvature(model, step):
            changed = 'forward' in vars(model.bbox_head.loss_bbox)
            assert changed == bool(step)
            losses = image_losses(model, head_outputs(model, inputs),
                                  [DetDataSample(metainfo=sizes)] * 2, labels)
            params = list(model.bbox_head.parameters())
            found.append([losses, *torch.autograd.grad(
                losses.sum(), params, allow_unused=True)])
    for plain, curved in zip(*found):
        if plain is not None:
            torch.testing.assert_close(curved, plain, rtol=1e-4, atol=1e-6)


def test_no_box_and_no_size():
    loss = GIoULoss()
    with box_curvature(Head(loss), STEP):
        empty = torch.zeros(0, 4, requires_grad=True)
        for weight in (None, torch.zeros(0), torch.zeros(0, 4)):
            value = loss(empty, torch.zeros(0, 4), weight,
                         reduction_override='sum')
            assert value == 0
        pred = torch.tensor([[1., 1., 5., 5.]], requires_grad=True)
        value = loss(pred, torch.tensor([[1., 1., 1., 1.]]))
        gradient, = torch.autograd.grad(value, pred, create_graph=True)
        second, = torch.autograd.grad(gradient.sum(), pred)
    assert torch.isfinite(second).all()


def test_half_precision_gives_finite_curvature():
    pred, target = boxes(noise=.1)
    exact = hessian(GIoULoss(), pred.half().double(), target.half().double())
    found = hessian(GIoULoss(), pred.half(), target.half())
    torch.testing.assert_close(found.double(), exact, rtol=.01, atol=.01)


def test_a_negative_step_is_refused():
    with pytest.raises(ValueError, match='must be >= 0'), \
            box_curvature(Head(GIoULoss()), -1.):
        pass


def test_heads_of_mmdet_have_their_losses_found():
    model = tiny_faster_rcnn()
    losses = [model.rpn_head.loss_bbox, model.roi_head.bbox_head.loss_bbox]
    with box_curvature(model, STEP):
        assert all('forward' in vars(m) for m in losses)


def test_l1_of_transformers_has_steps_of_widths_and_heights():
    head = tiny_detr().bbox_head
    target = torch.tensor([[.5, .4, .2, .1], [.3, .6, .05, .4]])
    inside = target + 0.5 * STEP * target[:, [2, 3, 2, 3]]
    outside = target + 1.5 * STEP * target[:, [2, 3, 2, 3]]
    found = []
    for pred in (inside, outside):
        with box_curvature(head, STEP):
            found.append(torch.autograd.functional.hessian(
                lambda p: head.loss_bbox(p, target, reduction_override='sum'),
                pred).flatten(0, 1).flatten(1))
    # the slope turns from -w to w over twice the step
    truth = head.loss_bbox.loss_weight / (STEP * target[:, [2, 3, 2, 3]])
    torch.testing.assert_close(found[0], truth.flatten().diag())
    assert not found[1].any()
    assert 'forward' not in vars(head.loss_bbox)
