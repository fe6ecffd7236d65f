"""nms and softnms against plain loops over pairs of boxes."""
import math
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmal.compat import nms as nms_module
from mmal.compat.nms import nms
from mmal.compat.soft_nms import softnms

few = settings(max_examples=50, deadline=None)
# A coarse grid makes equal boxes, touching boxes and equal IoUs likely.
coordinate = st.one_of(
    st.integers(0, 12), st.floats(-50, 50, width=32),
    st.sampled_from([-1e30, 1e30, -1e18, 1e-30, 3e38, 65504.]))
box = st.tuples(coordinate, coordinate, coordinate, coordinate)
threshold = st.sampled_from([0., 0.25, 0.3, 0.5, 0.6, 1.])


@st.composite
def detections(draw, tied=True):
    boxes = draw(st.lists(box, max_size=24))
    if boxes and draw(st.booleans()):
        boxes += [boxes[0]] * 3
    score = st.sampled_from([0., .25, .5, 1.])
    if not tied:
        score = st.floats(0, 1, width=32)
    scores = draw(st.lists(score, min_size=len(boxes), max_size=len(boxes),
                           unique=not tied))
    return (torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            torch.tensor(scores, dtype=torch.float32))


@st.composite
def crowds(draw):
    """Boxes that resemble each other, here and there, and odd ones."""
    kind = draw(st.sampled_from([torch.float32, torch.float64]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    number = draw(st.integers(1, 60))
    shift = draw(st.sampled_from([1., 100., 1e6]))
    size = draw(st.sampled_from([1e-12, 1e-3, 1., 50., 1e4]))
    centres = torch.randint(0, draw(st.integers(1, 6)), (number, 1),
                            generator=generator).to(kind) * shift
    corners = torch.rand(number, 4, generator=generator, dtype=kind) * size
    # few different corners, some of them at the wrong side
    corners = (corners * 4 / size).round() * size / 4
    corners[:, 2:] += draw(st.sampled_from([0., 0.5, 1.])) * size
    boxes = centres + corners
    odd = draw(st.lists(st.tuples(
        st.integers(0, number - 1), st.integers(0, 3),
        st.sampled_from([math.nan, math.inf, -math.inf, 1e30, -1e30, 0.])),
        max_size=4))
    for row, column, value in odd:
        boxes[row, column] = value
    scores = torch.randint(0, draw(st.sampled_from([2, 1000])), (number, ),
                           generator=generator).to(kind)
    return boxes, scores


def iou(a, b, offset, kind):
    """mmcv's expression for two boxes, rounded after every operation."""
    one = kind(offset)
    inter = kind(1)
    for low, high in ((0, 2), (1, 3)):
        side = min(a[high], b[high]) - max(a[low], b[low]) + one
        inter = inter * (side if side > 0 else kind(0))
    areas = [(c[2] - c[0] + one) * (c[3] - c[1] + one) for c in (a, b)]
    return inter / (areas[0] + areas[1] - inter)


def slow_nms(boxes, scores, iou_threshold, offset):
    boxes, scores = boxes.numpy(), scores.tolist()
    kind = boxes.dtype.type
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    kept = []
    with np.errstate(all='ignore'):
        for i in order:
            if not any(iou(boxes[k], boxes[i], offset, kind) >
                       kind(iou_threshold) for k in kept):
                kept.append(i)
    return kept


def slow_softnms(boxes, scores, iou_threshold, sigma, min_score, method,
                 offset):
    """Take the best, decay the rest; a gap is filled with the last box."""
    boxes, scores = boxes.numpy(), scores.numpy()
    kind = boxes.dtype.type
    left = [[i, score] for i, score in enumerate(scores)]
    taken = []
    with np.errstate(all='ignore'):
        while left:
            best = 0
            for k in range(1, len(left)):
                if left[k][1] > left[best][1]:
                    best = k
            left[0], left[best] = left[best], left[0]
            chosen = left.pop(0)
            taken.append(chosen)
            k = 0
            while k < len(left):
                overlap = iou(boxes[chosen[0]], boxes[left[k][0]], offset,
                              kind)
                if method == 'gaussian':
                    left[k][1] *= kind(math.exp(-overlap * overlap / sigma)
                                       if overlap == overlap else math.nan)
                elif overlap >= kind(iou_threshold):
                    left[k][1] *= (1 - overlap if method == 'linear' else
                                   kind(0))
                if left[k][1] < kind(min_score):
                    left[k] = left[-1]
                    left.pop()
                else:
                    k += 1
    return taken


def random_boxes(number, seed, kind=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(number, 4, generator=generator, dtype=kind) * 60
    boxes[:, 2:] = boxes[:, :2] + boxes[:, 2:] * 0.5
    return boxes, torch.rand(number, generator=generator, dtype=kind)


@few
@given(detections(), threshold, st.sampled_from([0, 1]))
def test_nms_keeps_what_a_loop_over_pairs_keeps(dets, iou_threshold, offset):
    boxes, scores = dets
    kept = nms(boxes, scores, iou_threshold, offset)
    assert kept.dtype == torch.int64
    assert kept.tolist() == slow_nms(boxes, scores, iou_threshold, offset)


@few
@given(crowds(), st.sampled_from([0., 1e-4, 0.1, 0.3, 0.5, 0.7, 0.9, 1.]),
       st.sampled_from([0, 1]), st.sampled_from([1, 3, 8]))
def test_nms_keeps_the_same_in_blocks_of_any_size(crowd, iou_threshold,
                                                  offset, size):
    """Small blocks and tables: a few boxes then take every path."""
    boxes, scores = crowd
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nms_module, 'FIRST_BLOCK', size)
        patch.setattr(nms_module, 'BLOCK', 2 * size)
        patch.setattr(nms_module, 'ROWS', size)
        patch.setattr(nms_module, 'COLUMNS', size)
        kept = nms(boxes, scores, iou_threshold, offset)
    assert kept.tolist() == slow_nms(boxes, scores, iou_threshold, offset)


@pytest.mark.parametrize('kind', [torch.float32, torch.float64])
@pytest.mark.parametrize('side', [10, 60, 1000])
def test_nms_of_more_boxes_than_a_block(kind, side):
    boxes, scores = random_boxes(700, 0, kind)
    boxes += torch.rand(700, 1, dtype=kind,
                        generator=torch.Generator().manual_seed(1)) * side
    kept = nms(boxes, scores, 0.3)
    assert kept.tolist() == slow_nms(boxes, scores, 0.3, 0)
    assert 10 < len(kept) < 700


@pytest.mark.parametrize('iou_threshold', [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize('left', [True, False])
@pytest.mark.parametrize('best', ['narrow', 'wide'])
def test_nms_sees_the_farthest_box_that_it_drops(monkeypatch, best, left,
                                                 iou_threshold):
    """A box in another that it almost falls short of, at either end."""
    monkeypatch.setattr(nms_module, 'FIRST_BLOCK', 1)
    wide = 100 / iou_threshold * (1 - 1e-5)
    x1 = 0. if left else wide - 100
    boxes = torch.tensor([[x1, 0, x1 + 100, 50], [0, 0, wide, 50],
                          [5e5, 0, 6e5, 50]])
    scores = torch.tensor([0.5, 0.9 if best == 'wide' else 0.1, 0.])
    kept = nms(boxes, scores, iou_threshold)
    assert kept.tolist() == [best == 'wide', 2]
    boxes[1, 2] = wide * (1 + 1e-4)
    if left:
        assert len(nms(boxes, scores, iou_threshold)) == 3


def test_memory_of_nms_grows_with_the_boxes_not_with_their_pairs():
    """20,000 boxes in one place: a byte for every pair were 400 MB."""
    boxes, scores = random_boxes(20000, 0)
    boxes = 100 + 0.01 * boxes + torch.tensor([0., 0, 50, 50])
    tracemalloc.start()
    try:
        kept = nms(boxes, scores, 0.5)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert kept.tolist() == [int(scores.argmax())]
    assert peak < 40e6


@pytest.mark.parametrize('iou_threshold', [-0.1, math.nan])
def test_nms_refuses_an_impossible_threshold(iou_threshold):
    with pytest.raises(ValueError, match=f'iou_threshold is {iou_threshold}'):
        nms(torch.zeros(1, 4), torch.zeros(1), iou_threshold)


def test_nms_of_half_precision_is_that_of_float32():
    boxes, scores = random_boxes(60, 1)
    boxes, scores = boxes.half(), scores.half()
    kept = nms(boxes, scores, 0.4)
    assert kept.tolist() == slow_nms(boxes.float(), scores.float(), 0.4, 0)


def test_nms_of_none_and_one():
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []
    assert nms(torch.zeros(1, 4), torch.zeros(1), 0.5).tolist() == [0]


def test_nms_keeps_one_of_identical_boxes_and_the_first_of_equal_scores():
    boxes = torch.tensor([[0., 0, 10, 10]]).repeat(300, 1)
    assert nms(boxes, torch.ones(300), 0.5).tolist() == [0]
    apart = boxes + 100 * torch.arange(300)[:, None]
    assert nms(apart, torch.ones(300), 0.5).tolist() == list(range(300))


def test_nms_threshold_is_exclusive_and_offset_counts_the_last_pixel():
    pair = torch.tensor([[0., 0, 10, 10], [0, 0, 10, 5]])
    scores = torch.tensor([0.9, 0.8])
    assert len(nms(pair, scores, 0.5)) == 2
    assert len(nms(pair, scores, 0.49)) == 1
    assert len(nms(pair, scores, 0.5, offset=1)) == 1  # 66 / 121


def test_mmcv_functions_reach_the_stand_in():
    from mmcv.ops import batched_nms
    boxes, scores = random_boxes(40, 2)
    classes = torch.arange(40) % 3
    dets, kept = batched_nms(boxes, scores, classes,
                             dict(type='nms', iou_threshold=0.3))
    wanted = []
    for name in range(3):
        rows = (classes == name).nonzero()[:, 0]
        wanted += rows[slow_nms(boxes[rows], scores[rows], 0.3, 0)].tolist()
    assert sorted(kept.tolist()) == sorted(wanted)
    assert torch.equal(dets[:, 4], scores[kept])
    assert dets[:, 4].tolist() == sorted(dets[:, 4].tolist(), reverse=True)


def torchvision_nms(seen):
    """What torchvision documents of its operator, and no more: it sorts by
    falling score, in no order where scores are equal, and compares with a
    threshold of float64."""

    def operator(boxes, scores, iou_threshold):
        assert boxes.dtype == scores.dtype and scores.shape == boxes.shape[:1]
        seen.append(len(boxes))
        last = range(len(scores) - 1, -1, -1)
        kept = []
        with np.errstate(all='ignore'):
            for i in sorted(last, key=lambda i: -scores[i].item()):
                if not any(iou(boxes[k].numpy(), boxes[i].numpy(), 0,
                               boxes.numpy().dtype.type).astype(float) >
                           iou_threshold for k in kept):
                    kept.append(i)
        return torch.tensor(kept)

    return operator


@settings(few, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(detections(), threshold)
def test_torchvision_keeps_the_same(torchvision, dets, iou_threshold):
    boxes, scores = dets
    torchvision.ops.nms = torchvision_nms([])
    kept = nms(boxes, scores, iou_threshold)
    assert kept.tolist() == slow_nms(boxes, scores, iou_threshold, 0)


@pytest.mark.parametrize('kind', [torch.float16, torch.float32,
                                  torch.float64])
def test_torchvision_is_used_but_with_an_offset(torchvision, kind):
    seen = []
    torchvision.ops.nms = torchvision_nms(seen)
    boxes, scores = (x.to(kind) for x in random_boxes(40, 3))
    wide = boxes if kind == torch.float64 else boxes.float()
    kept = nms(boxes, scores, 0.3)
    assert kept.tolist() == slow_nms(wide, scores, 0.3, 0)
    assert seen == [1, 40]  # tried with one box, then used
    kept = nms(boxes, scores, 0.3, offset=1)
    assert kept.tolist() == slow_nms(wide, scores, 0.3, 1)
    assert seen == [1, 40]


def test_an_iou_at_the_threshold_is_kept_by_torchvision_too(torchvision):
    """3 / 10 in float32 is greater than 0.3 in float64, not in float32."""
    torchvision.ops.nms = torchvision_nms([])
    boxes = torch.tensor([[0., 0, 10, 10], [0, 0, 10, 3]])
    assert nms(boxes, torch.tensor([0.9, 0.8]), 0.3).tolist() == [0, 1]


METHODS = ('naive', 'linear', 'gaussian')


def run_softnms(boxes, scores, iou_threshold, sigma, min_score, method,
                offset):
    dets = boxes.new_full((len(boxes), 5), -7)
    taken = softnms(boxes, scores, dets, iou_threshold=iou_threshold,
                    sigma=sigma, min_score=min_score,
                    method=METHODS.index(method), offset=offset)
    return dets, taken


@few
@given(detections(), threshold, st.sampled_from([0.1, 0.5, 2.]),
       st.sampled_from([0., 1e-3, 0.3]), st.sampled_from(METHODS[:2]),
       st.sampled_from([0, 1]))
def test_softnms_takes_what_loops_take(dets, iou_threshold, sigma, min_score,
                                       method, offset):
    boxes, scores = dets
    before = boxes.clone(), scores.clone()
    filled, taken = run_softnms(boxes, scores, iou_threshold, sigma,
                                min_score, method, offset)
    wanted = slow_softnms(boxes, scores, iou_threshold, sigma, min_score,
                          method, offset)
    assert taken.tolist() == [index for index, _ in wanted]
    assert torch.equal(filled[:len(taken), :4], boxes[taken])
    np.testing.assert_array_equal(filled[:len(taken), 4],
                                  [score for _, score in wanted])
    assert (filled[len(taken):] == -7).all()
    assert torch.equal(boxes, before[0]) and torch.equal(scores, before[1])


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('kind', [torch.float32, torch.float64])
@pytest.mark.parametrize('method', METHODS)
def test_softnms_of_random_boxes(method, kind, offset):
    boxes, scores = random_boxes(60, 4, kind)
    filled, taken = run_softnms(boxes, scores, 0.3, 0.5, 0.05, method, offset)
    wanted = slow_softnms(boxes, scores, 0.3, 0.5, 0.05, method, offset)
    assert taken.tolist() == [index for index, _ in wanted]
    np.testing.assert_allclose(filled[:len(taken), 4],
                               [score for _, score in wanted], rtol=1e-5)
    assert 10 < len(taken) <= 60


@pytest.mark.parametrize('method', METHODS)
def test_soft_nms_of_mmcv(method):
    from mmcv.ops import soft_nms
    boxes, scores = random_boxes(30, 5)
    dets, kept = soft_nms(boxes, scores, 0.3, method=method)
    wanted = slow_softnms(boxes, scores, 0.3, 0.5, 1e-3, method, 0)
    assert kept.tolist() == [index for index, _ in wanted]
    assert dets.shape == (len(kept), 5)
    dets, kept = soft_nms(boxes[:0], scores[:0], 0.3, method=method)
    assert dets.shape == (0, 5) and kept.shape == (0, )


def test_softnms_with_undefined_overlaps():
    """Degenerate boxes have IoU 0/0, and gaussian decay makes scores NaN."""
    boxes = torch.tensor([[5., 5, 5, 5], [5, 5, 5, 5], [0, 0, 9, 9],
                          [5, 5, 5, 5], [1, 0, 9, 9]])
    scores = torch.tensor([.5, .9, .7, .6, .8])
    filled, taken = run_softnms(boxes, scores, 0.3, 0.5, 1e-3, 'gaussian', 0)
    wanted = slow_softnms(boxes, scores, 0.3, 0.5, 1e-3, 'gaussian', 0)
    assert taken.tolist() == [index for index, _ in wanted]
    np.testing.assert_allclose(filled[:, 4], [s for _, s in wanted],
                               rtol=1e-5)
    assert filled[:, 4].isnan().any()


def test_softnms_refuses_an_unknown_method():
    with pytest.raises(ValueError, match='method is 3'):
        softnms(torch.zeros(1, 4), torch.zeros(1), torch.zeros(1, 5), 0.5,
                0.5, 0., 3, 0)


@pytest.mark.parametrize('offset', [0, 1])
def test_equal_to_compiled_mmcv(compiled, offset):
    for seed in range(20):
        boxes, scores = random_boxes(500, seed)
        ours = nms(boxes, scores, 0.4, offset)
        theirs = compiled.nms(boxes, scores, iou_threshold=0.4,
                              offset=offset)
        assert ours.tolist() == theirs.tolist()
        for number, method in enumerate(METHODS):
            filled, taken = run_softnms(boxes, scores, 0.3, 0.5, 0.05,
                                        method, offset)
            dets = torch.empty(500, 5)
            theirs = compiled.softnms(
                boxes, scores, dets, iou_threshold=0.3, sigma=0.5,
                min_score=0.05, method=number, offset=offset)
            assert taken.tolist() == theirs.tolist()
            torch.testing.assert_close(filled[:len(taken)],
                                       dets[:len(taken)])
