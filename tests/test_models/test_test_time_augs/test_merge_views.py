"""Moments over views, against loops and torch's mixtures."""
import numpy as np
import pytest
import torch
from helpers.views import detections
from mmcv.ops import batched_nms
from mmengine.structures import InstanceData
from torch.distributions import Categorical, MixtureSameFamily, Normal

from mmal.models.test_time_augs import merge_views, unflip

THRESHOLD = 0.5


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    area = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return width * height / (sum(area) - width * height)


def members_by_hand(found, view):
    """Greedy NMS as a loop: [(kept, {view: member})], best first."""
    boxes = found.bboxes.double().tolist()
    left = sorted(range(len(found)), key=lambda i: -found.scores[i])
    groups = []
    while left:
        best = left.pop(0)
        dropped = [i for i in left if found.labels[i] == found.labels[best]
                   and iou(boxes[i], boxes[best]) > THRESHOLD]
        left = [i for i in left if i not in dropped]
        members = {}
        for number in view.unique().tolist():
            mine = [i for i in dropped if view[i] == number]
            if view[best] == number:
                members[number] = best
            elif mine:
                members[number] = max(
                    mine, key=lambda i: iou(boxes[i], boxes[best]))
        groups.append((best, members))
    return groups


@pytest.mark.parametrize('mean_boxes', [True, False])
@pytest.mark.parametrize('sides', [True, False])
@pytest.mark.parametrize('seed', range(5))
def test_moments_by_hand(seed, sides, mean_boxes):
    found, view = detections(seed)
    kept = batched_nms(found.bboxes, found.scores, found.labels,
                       dict(type='nms', iou_threshold=THRESHOLD))[1]
    merged = merge_views(found, view, kept, THRESHOLD, sides, mean_boxes)
    groups = members_by_hand(found, view)
    assert [best for best, _ in groups] == kept.tolist()
    assert max(len(members) for _, members in groups) > 1
    for i, (best, members) in enumerate(groups):
        rows = list(members.values())
        weights = found.scores[rows].double()
        weights = weights / weights.sum()

        def mean(values, weights=weights):
            return sum(w * v for w, v in zip(weights, values))

        boxes = found.bboxes[rows].double()
        stds = found.box_std[rows].double()
        centre = mean(boxes) if mean_boxes else boxes[rows.index(best)]
        between = mean([(b - centre)**2 for b in boxes])
        within = mean([s**2 for s in stds])
        aleatoric = found.box_aleatoric[rows].double()
        epistemic = found.box_epistemic[rows].double()
        ratio = mean([(a + e) / s**2
                      for a, e, s in zip(aleatoric, epistemic, stds)])
        edges = between if sides else torch.stack(
            [(between[c] + between[(c + 2) % 4]) / 2 for c in range(4)])
        label = found.labels[best]
        probs = found.class_probs[rows].double()
        own = [p[label] for p in probs]
        expected = dict(
            bboxes=centre, scores=found.scores[best], labels=label,
            box_std=(within + between).sqrt(), box_aleatoric=mean(aleatoric),
            box_epistemic=mean(epistemic) + ratio * edges,
            cls_aleatoric=mean(found.cls_aleatoric[rows].double()),
            cls_epistemic=mean(found.cls_epistemic[rows].double()) + mean(
                [(p - mean(own))**2 for p in own]),
            class_probs=mean(probs))
        assert set(merged.keys()) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(
                merged[name][i], value, rtol=1e-4, atol=1e-5, err_msg=name)


def two_views(**fields):
    """Two views of one object, a score of .75 and one of .25."""
    base = dict(scores=torch.tensor([.75, .25]), labels=torch.tensor([1, 1]))
    return InstanceData(**base, **fields)


def merge_two(found, sides):
    return merge_views(found, torch.tensor([0, 1]), torch.tensor([0]), .3,
                       sides)


def test_law_of_total_variance():
    """The variance of torch's mixture of both views' Gaussians."""
    means = torch.tensor([[10., 10, 50, 50], [13., 9, 46, 51]])
    stds = torch.tensor([[1., 2, 3, 4], [2., 2, 1, 5]])
    merged = merge_two(two_views(bboxes=means, box_std=stds), False)
    truth = MixtureSameFamily(
        Categorical(torch.tensor([.75, .25]).expand(4, 2)),
        Normal(means.T, stds.T))
    torch.testing.assert_close(merged.bboxes[0], truth.mean)
    torch.testing.assert_close(merged.box_std[0], truth.variance.sqrt())


def test_sides_of_one_stride_have_the_total_variance_of_distances():
    """A point at (30, 30) that predicts l, t, r, b in strides of 8."""
    sides = torch.tensor([[2., 2, 2.5, 2.5], [2.2, 1.9, 2.1, 2.6]])
    stride, signs = 8.0, torch.tensor([-1., -1, 1, 1])
    a, e = torch.tensor([.3, .4]), torch.tensor([.1, .02])
    ones = torch.ones(2, 4)
    found = two_views(
        bboxes=30 + signs * stride * sides,
        box_std=ones * stride * (a + e).sqrt()[:, None],
        box_aleatoric=ones * a[:, None], box_epistemic=ones * e[:, None])
    merged = merge_two(found, True)
    weights = torch.tensor([[.75], [.25]])
    centre = (weights * sides).sum(0)
    between = (weights * (sides - centre)**2).sum(0)
    torch.testing.assert_close(merged.box_aleatoric[0],
                               (.75 * a[0] + .25 * a[1]).expand(4))
    # the unit is that of the head at any variance
    torch.testing.assert_close(merged.box_epistemic[0],
                               .75 * e[0] + .25 * e[1] + between)


def test_views_that_agree_change_nothing():
    found, _ = detections(0)
    kept = batched_nms(found.bboxes, found.scores, found.labels,
                       dict(type='nms', iou_threshold=THRESHOLD))[1]
    alone = found[kept]
    both = InstanceData.cat([alone, alone])
    view = torch.arange(2).repeat_interleave(len(alone))
    merged = merge_views(both, view, torch.arange(len(alone)), THRESHOLD,
                         False)
    for name, value in alone.items():
        torch.testing.assert_close(merged[name], value, rtol=1e-4, atol=1e-5)


def test_scores_stand_in_for_probabilities():
    boxes = torch.tensor([[10., 10, 50, 50]] * 2)
    found = two_views(bboxes=boxes, cls_epistemic=torch.zeros(2),
                      kind=torch.tensor([4, 5]))
    merged = merge_two(found, False)
    variance = .75 * .75**2 + .25 * .25**2 - (.75**2 + .25**2)**2
    assert merged.cls_epistemic.item() == pytest.approx(variance)
    assert merged.kind.item() == 4  # no number to average


@pytest.mark.parametrize('sides', [True, False])
@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
def test_flipped_views_are_mirrored(direction, sides):
    """Point by point; a flip of the flip is the view itself."""
    found, _ = detections(1)
    back = unflip(found, (80, 100), direction, sides)
    for i, (x1, y1, x2, y2) in enumerate(found.bboxes.tolist()):
        order = [0, 1, 2, 3]
        if direction != 'vertical':
            x1, x2 = 100 - x2, 100 - x1
            order[0], order[2] = 2, 0
        if direction != 'horizontal':
            y1, y2 = 80 - y2, 80 - y1
            order[1], order[3] = 3, 1
        np.testing.assert_allclose(back.bboxes[i], [x1, y1, x2, y2],
                                   rtol=1e-5)
        assert torch.equal(back.box_std[i], found.box_std[i][order])
        for name in ('box_aleatoric', 'box_epistemic'):
            expected = found[name][i]
            assert torch.equal(back[name][i],
                               expected[order] if sides else expected)
    again = unflip(back, (80, 100), direction, sides)
    for name, value in found.items():
        torch.testing.assert_close(again[name], value)
