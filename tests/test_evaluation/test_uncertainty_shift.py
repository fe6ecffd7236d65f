from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.evaluation import Detections, match_detections, uncertainty_shift
from mmal.evaluation.uncertainty_shift import box_iou


def scene(seed, n, unsure=2, classes=2):
    """Boxes on a small grid: many share a corner, a side or an IoU."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 4, (n, 2))
    side = rng.integers(0, 5, (n, 2))
    return Detections(
        np.concatenate([corner, corner + side], 1).astype(float),
        rng.integers(0, classes, n), rng.random((n, unsure)))


def pixel_iou(a, b):
    """Counts unit squares."""
    first, second = (set(
        product(range(int(x[0]), int(x[2])), range(int(x[1]), int(x[3]))))
                     for x in (a, b))
    either = first | second
    return len(first & second) / len(either) if either else 0.0


def brute_force(first, second, thr):
    """Take the best pair that is left, again and again."""
    left = [(i, j) for i in range(len(first)) for j in range(len(second))
            if first.labels[i] == second.labels[j]]
    pairs = []
    while True:
        iou = {(i, j): pixel_iou(first.boxes[i], second.boxes[j])
               for i, j in left}
        good = {p: v for p, v in iou.items() if v >= thr}
        if not good:
            return pairs
        best = min(good, key=lambda p: (-good[p], p))
        pairs.append(best)
        left = [p for p in left if p[0] != best[0] and p[1] != best[1]]


SEEDS = st.integers(0, 10**6)


@given(SEEDS, st.integers(0, 6), st.integers(0, 6))
def test_iou_counts_pixels(seed, n, m):
    first, second = scene(seed, n), scene(seed + 1, m)
    found = box_iou(first.boxes, second.boxes)
    assert found.shape == (n, m)
    for i, j in product(range(n), range(m)):
        assert found[i, j] == pytest.approx(
            pixel_iou(first.boxes[i], second.boxes[j]))


@settings(deadline=None)
@given(SEEDS, st.integers(0, 7), st.integers(0, 7),
       st.sampled_from([0.2, 0.5, 1.0]))
def test_matching_takes_the_best_pair_that_is_left(seed, n, m, thr):
    first, second = scene(seed, n), scene(seed + 1, m)
    pairs = match_detections(first, second, thr)
    assert [tuple(p) for p in pairs.tolist()] == brute_force(
        first, second, thr)


@given(SEEDS)
def test_a_set_matches_itself(seed):
    one = scene(seed, 5)
    area = (one.boxes[:, 2:] - one.boxes[:, :2]).prod(1)
    assert len(match_detections(one, one)) == (area > 0).sum()


@settings(deadline=None)
@given(SEEDS)
def test_shift_averages_over_all_pairs_of_all_images(seed):
    first = {i: scene(seed + i, 4) for i in range(3)}
    second = {i: scene(seed + 10 + i, 5) for i in range(3)}
    found = uncertainty_shift(first, second)
    a, b = [], []
    for i in range(3):
        for j, k in brute_force(first[i], second[i], 0.5):
            a.append(first[i].uncertainties[j])
            b.append(second[i].uncertainties[k])
    assert found.common == len(a) and found.totals == (12, 15)
    if not a:
        assert np.isnan(found.first).all() and np.isnan(found.second).all()
    else:
        np.testing.assert_allclose(found.first, np.mean(a, 0))
        np.testing.assert_allclose(found.second, np.mean(b, 0))


def test_images_without_detections():
    empty = {7: scene(0, 0)}
    found = uncertainty_shift(empty, {7: scene(0, 3)})
    assert found.common == 0 and found.totals == (0, 3)
    assert found.first.shape == (2, ) and np.isnan(found.first).all()


def test_refuses_other_images_and_thresholds():
    one = {7: scene(0, 3)}
    with pytest.raises(ValueError, match='not the same'):
        uncertainty_shift(one, {8: scene(0, 3)})
    with pytest.raises(ValueError, match='not the same'):
        uncertainty_shift({}, {})
    with pytest.raises(ValueError, match='iou_thr is 0'):
        uncertainty_shift(one, one, iou_thr=0)
