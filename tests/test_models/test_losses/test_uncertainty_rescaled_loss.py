"""Rescaled losses: element by element, and as mmdet's heads call them."""
import copy
import itertools
import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.losses import CrossEntropyLoss, FocalLoss, QualityFocalLoss
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.structures import InstanceData
from torch import nn

from mmal.models.losses import (
    AnchorLoss,
    UncertaintyRescaledLoss,
    rescale_by_difficulty,
)
from mmal.uncertainty import bald, difficulty

LOSSES = {
    'cross entropy': lambda **kw: CrossEntropyLoss(use_sigmoid=True, **kw),
    'not ignored': lambda **kw: CrossEntropyLoss(
        use_sigmoid=True, avg_non_ignore=True, ignore_index=255, **kw),
    'focal': FocalLoss,
    'anchor': lambda **kw: AnchorLoss(True, **kw),
}
MODES = [(reduction, avg, override)
         for reduction, avg, override in itertools.product(
             ('none', 'mean', 'sum'), (None, 3.), (None, 'none', 'mean'))
         if avg is None or (override or reduction) != 'sum']


def inputs(rows=5, classes=3, seed=0):
    torch.manual_seed(seed)
    pred = torch.randn(rows, classes)
    labels = torch.randint(classes + 1, (rows, ))
    mean, std = torch.randn(rows, classes), torch.rand(rows, classes) * 3
    weight = torch.randint(2, (rows, )).float()
    weight[:1] = 1
    return pred, labels, weight, mean, std


def one_hot(labels, classes=3):
    return torch.nn.functional.one_hot(labels, classes + 1)[:, :classes]


def factors(pred, labels, weight, mean, std, normalize=True):
    """D, or D over its mean, row by row, written out."""
    correct = (pred > 0) == one_hot(labels, pred.shape[1]).bool()
    values = difficulty(bald(mean, std), correct)
    if not normalize:
        return values
    counted = [values[i] for i in range(len(pred)) if weight[i] > 0]
    return values / torch.stack(counted).mean()


@pytest.mark.parametrize('normalize', [False, True])
@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('name', LOSSES)
def test_each_element_is_rescaled_and_reduced_as_the_wrapped_does(
        name, mode, normalize):
    reduction, avg_factor, override = mode
    pred, labels, weight, mean, std = inputs()
    plain = LOSSES[name](reduction=reduction, loss_weight=2.)
    loss = UncertaintyRescaledLoss(plain, normalize)
    elements = plain(pred, labels, weight, reduction_override='none')
    elements = elements * factors(pred, labels, weight, mean, std, normalize)
    divisor = avg_factor or elements.numel()
    expected = dict(
        none=elements, sum=elements.sum(),
        mean=elements.sum() / divisor)[override or reduction]
    with loss.branch(mean, std):
        found = loss(pred, labels, weight, avg_factor, override)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('name', LOSSES)
def test_without_a_branch_is_the_wrapped_loss(name, mode):
    reduction, avg_factor, override = mode
    pred, labels, weight, _, _ = inputs()
    plain = LOSSES[name](reduction=reduction)
    loss = UncertaintyRescaledLoss(plain)
    for target in (labels, one_hot(labels).float()):
        kwargs = dict(
            weight=weight if target is labels else None,
            avg_factor=avg_factor, reduction_override=override)
        assert torch.equal(
            loss(pred, target, **kwargs), plain(pred, target, **kwargs))


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('name', LOSSES)
def test_constant_difficulty_is_the_wrapped_loss(name, mode):
    reduction, avg_factor, override = mode
    _, labels, weight, _, _ = inputs()
    pred = one_hot(labels) * 2. - 1  # all correct
    plain = LOSSES[name](reduction=reduction)
    loss = UncertaintyRescaledLoss(plain, normalize=True)
    moments = torch.full((2, *pred.shape), 0.7)
    with loss.branch(*moments):
        found = loss(pred, labels, weight, avg_factor, override)
    torch.testing.assert_close(
        found, plain(pred, labels, weight, avg_factor, override))


@pytest.mark.parametrize('name', LOSSES)
def test_labels_and_one_hot_targets_agree(name):
    pred, labels, weight, mean, std = inputs()
    loss = UncertaintyRescaledLoss(LOSSES[name]())
    results = []
    for target, per in ((labels, weight),
                        (one_hot(labels), weight[:, None].expand(5, 3))):
        with loss.branch(mean, std):
            results.append(loss(pred, target, per))
    torch.testing.assert_close(*results)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 6), st.integers(1, 3), st.integers(0, 99),
       st.sampled_from([torch.float16, torch.float32, torch.float64]),
       st.sampled_from([0., 1., 1e4]))
def test_the_total_weight_stays(rows, classes, seed, dtype, size):
    torch.manual_seed(seed)
    mean, std = (torch.randn(2, rows, classes) * size).to(dtype)
    correct = torch.rand(rows, classes) > 0.5
    weight = torch.rand(rows, classes) * (torch.rand(rows, classes) > 0.3)
    found = rescale_by_difficulty(
        weight, bald(mean, std.abs()), correct, weight, normalize=True).sum()
    torch.testing.assert_close(found, weight.sum().to(found.dtype))


@settings(deadline=None, max_examples=60)
@given(st.floats(-30, 30), st.booleans(), st.floats(0, 5), st.floats(0, 5),
       st.floats(0.01, 100))
def test_a_temperature_smooths_the_step(logit, target, mean, std, width):
    """Written out; far from the border, and in the limit, it is the step."""
    args = (torch.tensor([[logit]], dtype=torch.float64),
            torch.tensor([[float(target)]]))
    moments = torch.tensor([[mean]]), torch.tensor([[std]])
    found = {}
    for temperature in (width, 1e-9, 0.):
        loss = UncertaintyRescaledLoss(
            CrossEntropyLoss(use_sigmoid=True), temperature=temperature)
        with loss.branch(*moments):
            found[temperature] = loss(*args)
    plain = CrossEntropyLoss(use_sigmoid=True)(*args)
    u = 1 / (1 + math.exp(-bald(*moments).item()))
    right = torch.tensor((logit if target else -logit) / width).sigmoid()
    expected = plain * (right * u / 2 + (1 - right) * (1 - u / 2))
    torch.testing.assert_close(
        found[width], expected, check_dtype=False, rtol=1e-5, atol=1e-9)
    if abs(logit) > 1e-6:
        torch.testing.assert_close(found[1e-9], found[0.], rtol=1e-5, atol=0)


def test_no_gradient_flows_through_a_smooth_step():
    pred, labels, weight, mean, std = inputs()
    pred.requires_grad_()
    loss = UncertaintyRescaledLoss(FocalLoss(reduction='sum'), temperature=1.)
    with loss.branch(mean, std):
        loss(pred, labels, weight).backward()
    found = pred.grad
    right = torch.where(one_hot(labels).bool(), pred, -pred).sigmoid().detach()
    factor = difficulty(bald(mean, std), right)
    expected, = torch.autograd.grad(
        (FocalLoss(reduction='none')(pred, labels, weight) * factor).sum(),
        pred)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('temperature', [-1., math.inf, math.nan])
def test_wrong_temperatures_are_explained(temperature):
    with pytest.raises(ValueError, match='temperature is .* number >= 0'):
        UncertaintyRescaledLoss(FocalLoss(), temperature=temperature)


def test_statistics_are_those_of_all_calls():
    pred, labels, weight, mean, std = inputs()
    loss = UncertaintyRescaledLoss(FocalLoss(reduction='sum'))
    with loss.branch(mean, std) as branch:
        assert branch.statistics is None
        found = [loss(pred[rows], labels[rows], weight[rows])
                 for rows in (slice(0, 2), slice(2, 5))]
    statistics = branch.statistics
    bits = bald(mean, std)[weight > 0]
    torch.testing.assert_close(
        statistics.factor, sum(found) / loss.loss(pred, labels, weight))
    torch.testing.assert_close(statistics.mean_bald, bits.mean())
    torch.testing.assert_close(statistics.widest, bits.max())
    with loss.branch(mean[:0], std[:0]) as branch:
        loss(pred[:0], labels[:0])
    assert branch.statistics.factor == 1
    assert branch.statistics.mean_bald == branch.statistics.widest == 0


@pytest.mark.parametrize('detach', [True, False])
def test_the_weight_carries_a_gradient_only_if_asked(detach):
    pred, labels, weight, mean, std = inputs()
    for tensor in (pred, mean, std):
        tensor.requires_grad_()
    loss = UncertaintyRescaledLoss(FocalLoss(), detach=detach)
    with loss.branch(mean, std):
        loss(pred, labels, weight).backward()
    assert pred.grad.any()
    assert (mean.grad is None) == (std.grad is None) == detach
    if not detach:
        assert mean.grad.any() and mean.grad.isfinite().all()
        assert std.grad.any() and std.grad.isfinite().all()


def test_ignored_elements_do_not_count():
    pred, labels, _, mean, std = inputs()
    labels[1], labels[3] = 255, -1
    kept = torch.tensor([0, 2, 4])
    loss = UncertaintyRescaledLoss(LOSSES['not ignored']())
    with loss.branch(mean, std):
        found = loss(pred, labels)
    with loss.branch(mean[kept], std[kept]):
        expected = loss(pred[kept], labels[kept])
    torch.testing.assert_close(found, expected)


def test_activated_predictions_are_judged_at_one_half():
    pred, labels, weight, mean, std = inputs()
    results = []
    for activated, values in ((False, pred), (True, pred.sigmoid())):
        loss = UncertaintyRescaledLoss(FocalLoss(activated=activated))
        with loss.branch(mean, std):
            results.append(loss(values, labels, weight))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize('name', LOSSES)
def test_nothing_counted_and_no_rows_make_no_nan(name):
    pred, labels, weight, mean, std = inputs()
    loss = UncertaintyRescaledLoss(LOSSES[name]())
    pred.requires_grad_()
    for rows in (0, 5):
        with loss.branch(mean[:rows], std[:rows]):
            found = loss(pred[:rows], labels[:rows], weight[:rows] * 0,
                         avg_factor=0.)
        assert found == 0
        found.backward()
        assert pred.grad.isfinite().all()


def test_calls_take_the_rows_in_their_order():
    pred, labels, weight, mean, std = inputs()
    loss = UncertaintyRescaledLoss(FocalLoss())
    with loss.branch(mean, std):
        parts = [loss(pred[:2], labels[:2]), loss(pred[2:], labels[2:])]
    for part, rows in zip(parts, (slice(0, 2), slice(2, 5))):
        with loss.branch(mean[rows], std[rows]):
            assert torch.equal(loss(pred[rows], labels[rows]), part)


def test_rows_must_fit():
    pred, labels, _, mean, std = inputs()
    loss = UncertaintyRescaledLoss(FocalLoss())
    with pytest.raises(ValueError, match='asks for 5 rows but 4 of 4'):
        with loss.branch(mean[:4], std[:4]):
            loss(pred, labels)
    with pytest.raises(ValueError, match='2 of 5 branch rows were taken by'):
        with loss.branch(mean, std):
            loss(pred[:3], labels[:3])
    with pytest.raises(ValueError, match='2 columns of the branch'):
        with loss.branch(mean[:, :2], std[:, :2]):
            loss(pred, labels)
    with pytest.raises(ValueError, match=r'must both be \[N, C\]'):
        with loss.branch(mean, std[0]):
            pass
    with pytest.raises(RuntimeError, match='open already'):
        with loss.branch(mean, std), loss.branch(mean, std):
            pass
    # a failure of the caller is not hidden, and closes the branch
    with pytest.raises(KeyError), loss.branch(mean, std):
        raise KeyError
    assert torch.equal(loss(pred, labels), loss.loss(pred, labels))


@pytest.mark.parametrize('wrapped, message', [
    (CrossEntropyLoss(), 'use_sigmoid'),
    (nn.MSELoss(), 'MSELoss without use_sigmoid'),
])
def test_refuses_losses_without_a_sigmoid(wrapped, message):
    with pytest.raises(ValueError, match=message):
        UncertaintyRescaledLoss(wrapped)


def test_heads_must_know_of_the_sigmoid(mmdet_scope):
    """Without the key beside the type mmdet's heads make one output more."""
    loss = wrapped(dict(type='FocalLoss', use_sigmoid=True))
    loss.pop('use_sigmoid')
    with pytest.raises(ValueError, match='use_sigmoid=True beside its type'):
        MMDET_MODELS.build(
            dict(type='RetinaHead', num_classes=3, in_channels=4,
                 loss_cls=loss))


def test_training_without_any_branch_warns():
    pred, labels, _, mean, std = inputs()
    loss = UncertaintyRescaledLoss(FocalLoss())
    with pytest.warns(UserWarning, match='without a branch'):
        loss(pred, labels)
    with loss.branch(mean, std):
        loss(pred, labels)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        loss(pred, labels)  # as of single images, within a training step
        UncertaintyRescaledLoss(FocalLoss()).eval()(pred, labels)


def test_refuses_losses_that_sum_over_classes():
    pred, labels, _, mean, std = inputs()
    loss = UncertaintyRescaledLoss(QualityFocalLoss())
    target = (labels, torch.rand(5))
    assert torch.equal(loss(pred, target), loss.loss(pred, target))
    with pytest.raises(ValueError, match=r'QualityFocalLoss .* \(5,\)'):
        with loss.branch(mean, std):
            loss(pred, target)


def test_looks_like_the_wrapped_loss():
    plain = FocalLoss(gamma=1.5, loss_weight=0.3, reduction='sum')
    plain.custom_cls_channels = True
    plain.get_cls_channels = lambda n: n + 7
    loss = UncertaintyRescaledLoss(plain)
    assert loss.use_sigmoid and loss.custom_cls_channels
    assert loss.get_cls_channels(3) == 10
    assert (loss.loss_weight, loss.gamma, loss.reduction) == (0.3, 1.5, 'sum')
    assert not hasattr(loss, 'custom_accuracy')
    assert not loss.state_dict() and not list(loss.parameters())
    assert copy.deepcopy(loss).gamma == 1.5


def wrapped(loss):
    return dict(
        type='mmal.UncertaintyRescaledLoss', use_sigmoid=True, loss=loss)


YOLO = dict(
    type='YOLOV3Head',
    num_classes=2,
    in_channels=[4, 4],
    out_channels=[4, 4],
    featmap_strides=[16, 8],
    anchor_generator=dict(
        type='YOLOAnchorGenerator',
        base_sizes=[[(8, 8), (16, 16)]] * 2,
        strides=[16, 8]))
OBJECTNESS = {
    'cross entropy': dict(type='CrossEntropyLoss', use_sigmoid=True),
    'focal': dict(type='FocalLoss', use_sigmoid=True),
    'anchor': dict(type='mmal.AnchorLoss', use_sigmoid=True, objectness=True),
}


@pytest.mark.parametrize('name', OBJECTNESS)
def test_in_yolov3_head(name, mmdet_scope):
    """Objectness [B, n] of two levels against the formula."""
    head = MMDET_MODELS.build(dict(YOLO, loss_conf=wrapped(OBJECTNESS[name])))
    torch.manual_seed(0)
    levels = []
    for size in (2, 3):
        target = torch.zeros(2, 2 * size * size, 7)
        target[:, 1, 4:6] = 1
        negative = 1 - target[..., 4]
        negative[:, 3] = 0
        levels.append((torch.randn(2, 14, size, size), target, negative))
    rows = sum(target[..., 4].numel() for _, target, _ in levels)
    mean, std = torch.randn(rows, 1), torch.rand(rows, 1)
    with head.loss_conf.branch(mean, std):
        found = [head.loss_by_feat_single(*level)[1] for level in levels]
    for loss, (pred, target, negative) in zip(found, levels):
        pred = pred.permute(0, 2, 3, 1).reshape(2, -1, 7)[..., 4]
        target = target[..., 4]
        counted = (negative + target) > 0
        n = target.numel()
        values = difficulty(
            bald(mean[:n], std[:n]).view_as(pred), (pred > 0) == target.bool())
        mean, std = mean[n:], std[n:]
        plain = head.loss_conf.loss(
            pred, target, counted.float(), reduction_override='none')
        expected = (plain * values).mean()
        torch.testing.assert_close(loss, expected)


CLASSES = {
    'cross entropy': dict(type='CrossEntropyLoss', use_sigmoid=True),
    'focal': dict(type='FocalLoss', use_sigmoid=True),
    'anchor': dict(type='mmal.AnchorLoss', use_sigmoid=True),
}


def images():
    boxes = torch.tensor([[2., 2., 30., 28.], [10., 4., 60., 50.]])
    instances = [
        InstanceData(bboxes=boxes, labels=torch.tensor([0, 2])),
        InstanceData(bboxes=boxes[:0], labels=torch.tensor([]).long())
    ]
    meta = dict(img_shape=(64, 64), pad_shape=(64, 64), scale_factor=(1, 1))
    return instances, [meta, meta]


@pytest.mark.parametrize('name', CLASSES)
def test_in_retina_head(name, mmdet_scope):
    """Constant difficulty changes nothing, other moments do, level-wise."""
    head = MMDET_MODELS.build(
        dict(
            type='RetinaHead',
            num_classes=3,
            in_channels=4,
            feat_channels=4,
            stacked_convs=1,
            anchor_generator=dict(
                type='AnchorGenerator',
                octave_base_scale=4,
                scales_per_octave=1,
                ratios=[1.0],
                strides=[8, 16]),
            loss_cls=wrapped(CLASSES[name]),
            train_cfg=dict(
                assigner=dict(
                    type='MaxIoUAssigner',
                    pos_iou_thr=0.5,
                    neg_iou_thr=0.4,
                    min_pos_iou=0,
                    ignore_iof_thr=-1),
                allowed_border=-1,
                pos_weight=-1)))
    assert head.cls_out_channels == 3
    check_head(head, 'loss_cls', [head.cls_out_channels, 4])


@pytest.mark.parametrize('name', CLASSES)
def test_in_fcos_head(name, mmdet_scope):
    head = MMDET_MODELS.build(
        dict(
            type='FCOSHead',
            num_classes=3,
            in_channels=4,
            feat_channels=4,
            stacked_convs=1,
            strides=[8, 16],
            regress_ranges=((-1, 32), (32, 1e8)),
            norm_cfg=None,
            loss_cls=wrapped(CLASSES[name])))
    check_head(head, 'loss_cls', [head.cls_out_channels, 4, 1])


def check_head(head, key, channels):
    torch.manual_seed(0)
    outputs = [[torch.rand(2, c, size, size) - 1.1 for size in (8, 4)]
               for c in channels]
    rows = 2 * (8 * 8 + 4 * 4)
    plain = total(head.loss_by_feat(*outputs, *images())[key])
    mean, std = torch.randn(rows, 3), torch.rand(rows, 3) * 3
    with head.loss_cls.branch(mean, std):
        rescaled = total(head.loss_by_feat(*outputs, *images())[key])
    assert rescaled.isfinite() and not torch.isclose(rescaled, plain)
    # negatives only, all right and equally uncertain, all weigh the same
    instances, metas = images()
    none = [instances[1]] * 2
    with head.loss_cls.branch(torch.zeros(rows, 3), torch.ones(rows, 3)):
        same = total(head.loss_by_feat(*outputs, none, metas)[key])
    factor = difficulty(bald(torch.zeros(1), torch.ones(1)),
                        torch.tensor([True]))
    torch.testing.assert_close(
        same, factor[0] * total(head.loss_by_feat(*outputs, none, metas)[key]))


def total(loss):
    return sum(loss) if isinstance(loss, list) else loss
