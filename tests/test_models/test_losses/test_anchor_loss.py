"""The anchor loss against a loop over the formula, and in mmdet's heads."""
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.registry import MODELS as MMDET_MODELS

from mmal.models.losses import AnchorLoss, anchor_loss
from mmal.models.losses.anchor_loss import (
    anchor_score,
    modulated_cross_entropy,
)

LOGITS = st.floats(-30, 30)
DTYPES = st.sampled_from([torch.float16, torch.float32, torch.float64])


@st.composite
def rows(draw, logits=LOGITS):
    """Logits [n, C] and labels [n], C is the background."""
    n, classes = draw(st.integers(0, 4)), draw(st.integers(1, 4))
    values = draw(st.lists(logits, min_size=n * classes,
                           max_size=n * classes))
    labels = draw(st.lists(st.integers(0, classes), min_size=n, max_size=n))
    return torch.tensor(values, dtype=torch.float64).view(
        n, classes), torch.tensor(labels, dtype=torch.long)


def one_hot(labels, classes):
    return F.one_hot(labels, classes + 1)[:, :classes].double()


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def by_hand(logits, label, gamma, slack):
    """One row; the scores of its classes and the background beside them."""
    scores = [sigmoid(x) for x in logits]
    scores.append(1 - max(scores))
    anchor = max(scores[label] - slack, 0)
    losses = []
    for k, x in enumerate(logits):
        if k == label:
            losses.append(math.log1p(math.exp(-x)))
        else:
            factor = max(1 + scores[k] - anchor, 1e-6)**gamma
            losses.append(factor * math.log1p(math.exp(x)))
    return losses


@settings(deadline=None, max_examples=100)
@given(rows(), st.sampled_from([0., 0.5, 2.]), st.sampled_from([0., .05, 1.]))
def test_is_the_formula(pair, gamma, slack):
    pred, labels = pair
    target = one_hot(labels, pred.shape[1])
    expected = [
        by_hand(x, label, gamma, slack)
        for x, label in zip(pred.tolist(), labels.tolist())
    ]
    torch.testing.assert_close(
        anchor_loss(pred, target, gamma, slack),
        torch.tensor(expected, dtype=pred.dtype).view(pred.shape))


@settings(deadline=None, max_examples=50)
@given(rows(), st.floats(0, 1))
def test_without_gamma_is_the_cross_entropy(pair, slack):
    pred, labels = pair
    target = one_hot(labels, pred.shape[1])
    torch.testing.assert_close(
        anchor_loss(pred, target, 0., slack),
        F.binary_cross_entropy_with_logits(pred, target, reduction='none'))


def test_scores_above_the_anchor_weigh_more_and_others_less():
    pred = torch.tensor([[0.5, 2., 0.5, -3.]])
    target = torch.tensor([[1., 0., 0., 0.]])
    plain = F.binary_cross_entropy_with_logits(pred, target, reduction='none')
    ratio = (anchor_loss(pred, target, 2., 0.1) / plain).squeeze()
    assert ratio[0] == 1
    # the slack makes even an equal score count more
    assert ratio[1] > ratio[2] > 1 > ratio[3]


@settings(deadline=None, max_examples=50)
@given(rows(st.floats(-1e4, 1e4)), DTYPES, st.sampled_from([0., 0.5, 2.]),
       st.sampled_from([0., 0.05]))
def test_is_finite_with_its_gradient_for_any_logits(pair, dtype, gamma, slack):
    pred, labels = pair
    pred = pred.to(dtype).requires_grad_()
    loss = anchor_loss(pred, one_hot(labels, pred.shape[1]), gamma, slack)
    assert loss.dtype == torch.promote_types(dtype, torch.float32)
    assert loss.isfinite().all() and (loss >= 0).all()
    loss.sum().backward()
    assert pred.grad.isfinite().all()


def test_gradients():
    torch.manual_seed(0)
    pred = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    target = one_hot(torch.tensor([0, 2, 3, 1]), 3)
    anchor = anchor_score(pred.detach(), target, 0.05)
    assert torch.autograd.gradcheck(
        lambda p: modulated_cross_entropy(p, target, anchor, 0.5), pred)
    fixed, = torch.autograd.grad(
        modulated_cross_entropy(pred, target, anchor, 0.5).sum(), pred)
    found, = torch.autograd.grad(anchor_loss(pred, target).sum(), pred)
    assert torch.equal(found, fixed)  # none flows through the anchor


def test_the_lowest_of_several_classes_is_the_anchor():
    pred = torch.tensor([[0., 2., 1.]])
    target = torch.tensor([[1., 1., 0.]])
    assert anchor_score(pred, target, 0.05).item() == pytest.approx(0.45)


def test_smoothed_labels_keep_their_class():
    pred = torch.tensor([[0., 2., 1.]])
    target = torch.tensor([[0.91, 0.01, 0.01]])
    assert anchor_score(pred, target, 0.).item() == pytest.approx(0.5)


@pytest.mark.parametrize('reduction, avg_factor', [
    ('none', None), ('none', 3.), ('mean', None), ('mean', 3.), ('sum', None)
])
def test_labels_and_one_hot_targets_agree(reduction, avg_factor):
    torch.manual_seed(0)
    pred, labels = torch.randn(4, 3), torch.tensor([0, 2, 3, 1])
    weight = torch.tensor([1., 0., 1., 2.])
    loss = AnchorLoss(True, reduction=reduction, loss_weight=2.)
    first = loss(pred, labels, weight, avg_factor=avg_factor)
    second = loss(
        pred, one_hot(labels, 3), weight[:, None].expand(4, 3).flatten(),
        avg_factor=avg_factor)
    torch.testing.assert_close(first, second)
    elements = 2 * anchor_loss(pred, one_hot(labels, 3)) * weight[:, None]
    divisor = dict(none=1, sum=1, mean=avg_factor or 12)[reduction]
    expected = elements if reduction == 'none' else elements.sum() / divisor
    torch.testing.assert_close(first, expected.to(first.dtype))
    again = loss(pred, labels, weight, reduction_override='none')
    torch.testing.assert_close(again, elements.float())


def test_negative_labels_are_left_out():
    pred = torch.randn(2, 3)
    loss = AnchorLoss(True, reduction='none')(pred, torch.tensor([-1, 1]))
    assert (loss[0] == 0).all() and (loss[1] > 0).all()


@pytest.mark.parametrize('shape', [(0, 3), (0, 1)])
def test_no_rows(shape):
    pred = torch.zeros(shape, requires_grad=True)
    loss = AnchorLoss(True)(pred, torch.zeros(0, dtype=torch.long),
                        torch.zeros(0))
    assert loss == 0
    loss.backward()


def test_objectness_takes_elements_one_by_one():
    torch.manual_seed(0)
    pred, target = torch.randn(2, 5), torch.randint(2, (2, 5)).float()
    weight = torch.rand(2, 5)
    grid = AnchorLoss(True, objectness=True)(pred, target, weight)
    flat = AnchorLoss(True)(
        pred.view(-1, 1), target.view(-1, 1), weight.view(-1, 1))
    torch.testing.assert_close(grid, flat)
    classes = AnchorLoss(True)(pred, target, weight)
    assert not torch.isclose(grid, classes)


@pytest.mark.parametrize('kwargs, message', [
    (dict(use_sigmoid=False), 'use_sigmoid'),
    (dict(gamma=-1.), 'gamma'),
    (dict(slack=1.5), 'slack'),
    (dict(reduction='max'), 'reduction'),
])
def test_refuses(kwargs, message):
    with pytest.raises(ValueError, match=message):
        AnchorLoss(**{'use_sigmoid': True, **kwargs})


def test_heads_must_know_of_the_sigmoid(mmdet_scope):
    """Without the key mmdet's heads make one output more."""
    with pytest.raises(ValueError, match='use_sigmoid=True beside its type'):
        MMDET_MODELS.build(
            dict(type='RetinaHead', num_classes=3, in_channels=4,
                 loss_cls=dict(type='mmal.AnchorLoss')))


def test_refuses_other_shapes():
    with pytest.raises(ValueError, match='equal in shape'):
        anchor_loss(torch.zeros(2, 3), torch.zeros(2, 2))


def test_in_yolov3_head(mmdet_scope):
    """With γ = 0 the head's loss is that with its cross entropy."""
    head = MMDET_MODELS.build(
        dict(
            type='YOLOV3Head',
            num_classes=2,
            in_channels=[4],
            out_channels=[4],
            featmap_strides=[8],
            anchor_generator=dict(
                type='YOLOAnchorGenerator',
                base_sizes=[[(8, 8), (16, 16)]],
                strides=[8])))
    torch.manual_seed(0)
    pred = (torch.randn(2, 14, 3, 3) - 3).requires_grad_()
    target = torch.zeros(2, 18, 7)
    target[:, 4, 4:6] = 1
    negative = 1 - target[..., 4]
    plain = head.loss_by_feat_single(pred, target, negative)
    for name in ('loss_conf', 'loss_cls'):
        setattr(head, name, AnchorLoss(
            True, gamma=0., objectness=name == 'loss_conf'))
    same = head.loss_by_feat_single(pred, target, negative)
    torch.testing.assert_close(same, plain)
    head.loss_conf.gamma = 0.5
    other = head.loss_by_feat_single(pred, target, negative)
    # most are negatives far below the anchor
    assert other[1] < plain[1]
    other[1].backward()
    assert pred.grad.isfinite().all() and pred.grad.any()


def test_in_retina_head(mmdet_scope):
    losses = dict(
        anchor=dict(type='mmal.AnchorLoss', use_sigmoid=True, gamma=0.),
        plain=dict(type='CrossEntropyLoss', use_sigmoid=True))
    heads = {
        name: MMDET_MODELS.build(
            dict(
                type='RetinaHead',
                num_classes=3,
                in_channels=4,
                feat_channels=4,
                stacked_convs=1,
                loss_cls=loss)) for name, loss in losses.items()
    }
    torch.manual_seed(0)
    scores = torch.randn(2, 27, 2, 2)
    inputs = (scores, torch.zeros(2, 36, 2, 2), torch.zeros(2, 36, 4),
              torch.randint(4, (2, 36)), torch.randint(2, (2, 36)).float(),
              torch.zeros(2, 36, 4), torch.zeros(2, 36, 4))
    assert heads['anchor'].cls_out_channels == 3
    results = {
        name: head.loss_by_feat_single(*inputs, avg_factor=5)[0]
        for name, head in heads.items()
    }
    torch.testing.assert_close(results['anchor'], results['plain'])
