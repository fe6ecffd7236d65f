"""PDQ pixel by pixel, and by all assignments."""
import itertools
import math

import numpy as np
import pytest

from mmal.evaluation import (
    DetectionQuality,
    detection_quality,
    spatial_quality,
)

SIZE = (23, 17)


def normal_cdf(z):
    return math.erfc(-z / math.sqrt(2)) / 2


def quality_by_pixels(box, std, true, size=SIZE):
    """The paper's evaluation, for each pixel its own likelihood."""
    likelihood, pixels = 0.0, 0
    for x, y in itertools.product(range(size[0]), range(size[1])):
        cx, cy = x + 0.5, y + 0.5
        p = 1.0
        for edge, deviation, at, sign in zip(
                box, std, (cx, cy, cx, cy), (1, 1, -1, -1)):
            p *= normal_cdf(sign * (at - edge) / max(deviation, 1e-6))
        if p < 0.0027:
            p = 0.0
        if true[0] <= cx < true[2] and true[1] <= cy < true[3]:
            likelihood += math.log(p + 1e-14)
            pixels += 1
        elif p:
            likelihood += math.log(1 - p + 1e-14)
    quality = math.exp(likelihood / pixels)
    return quality if quality > 1e-8 else 0.0


def boxes_near(true, rng, n):
    return true + rng.normal(0, 0.8, (n, 4))


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('largest', [0.0, 0.5, 3.0])
def test_spatial_quality_equals_pixels(seed, largest):
    rng = np.random.default_rng(seed)
    true = np.array([[2.2, 3.7, 9.4, 12.1], [0, 0, 23, 17], [14, 5, 21, 9],
                     [-4, -3, 6, 5], [18, 12, 30, 40.]])
    # also beyond the border of the image
    box = boxes_near(true[seed], rng, 1)[0]
    std = rng.uniform(0, largest, 4)
    found = spatial_quality(box, std, true, SIZE)
    expected = [quality_by_pixels(box, std, t) for t in true]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)
    assert found.argmax() == seed or not found.any()


def test_a_certain_and_right_box_is_perfect():
    box = np.array([3.0, 2.0, 11.0, 9.0])
    assert spatial_quality(box, np.zeros(4), box[None], SIZE) == \
        pytest.approx([1], abs=1e-12)
    # one column too many: 7 of 49 pixels of background, each floored
    wider = box + np.array([0, 0, 1, 0])
    assert spatial_quality(wider, np.zeros(4), box[None], SIZE) == \
        pytest.approx([math.exp(7 * math.log(1e-14) / 56)])
    # some doubt about the edge is better
    doubt = spatial_quality(wider, np.array([0, 0, 1, 0]), box[None], SIZE)
    assert doubt > 0.5


def test_the_best_deviation_is_that_of_the_errors():
    rng = np.random.default_rng(0)
    true = np.array([20, 20, 80, 70.])
    errors = rng.normal(0, 2.0, (60, 4))
    mean = [np.mean([
        spatial_quality(true + e, np.full(4, s), true[None], (100, 100))[0]
        for e in errors]) for s in (0.5, 2.0, 8.0)]
    assert mean[1] > mean[0] and mean[1] > mean[2]


@pytest.mark.parametrize('box', [[5, 5, 5, 5], [5.6, 5.6, 5.9, 5.9],
                                 [40, 40, 50, 50], [-9, -9, -1, -1]])
def test_objects_without_pixels_have_one(box):
    found = spatial_quality(np.array([4, 4, 8, 8.]), np.ones(4),
                            np.array([box], float), SIZE)
    assert 0 <= found[0] <= 1
    gone = spatial_quality(np.array(box, float), np.zeros(4),
                           np.array([[4, 4, 8, 8.]]), SIZE)
    assert gone == 0


@pytest.mark.parametrize('seed', range(8))
def test_pairs_are_the_best_of_all_assignments(seed):
    rng = np.random.default_rng(seed)
    n, t = rng.integers(1, 5, 2)
    corner = rng.uniform(0, 6, (t, 2))
    true = np.concatenate([corner, corner + rng.uniform(5, 9, (t, 2))], 1)
    boxes = true[rng.integers(0, t, n)] + rng.normal(0, 0.5, (n, 4))
    stds = rng.uniform(0.3, 2, (n, 4))
    labels, true_labels = rng.integers(0, 2, n), rng.integers(0, 2, t)
    scores = rng.random(n)
    table = np.array([[
        math.sqrt(quality_by_pixels(b, s, o) * score) if c == d else 0.0
        for o, d in zip(true, true_labels)]
        for b, s, c, score in zip(boxes, stds, labels, scores)])
    best = (0.0, 0)
    places = [*range(t), *[None] * n]
    for columns in itertools.permutations(places, int(n)):
        chosen = [table[i, j] for i, j in enumerate(columns)
                  if j is not None and table[i, j] > 0]
        best = max(best, (sum(chosen), len(chosen)))
    found = detection_quality(boxes, stds, labels, scores, true, true_labels,
                              SIZE)
    assert found.overall.sum() == pytest.approx(best[0])
    np.testing.assert_allclose(found.overall,
                               np.sqrt(found.spatial * found.label))
    assert found.summary()['pdq'] == pytest.approx(
        best[0] / (n + t - best[1]))


def test_false_alarms_and_missed_objects_count():
    true = np.array([[3, 2, 11, 9.], [12, 10, 20, 16]])
    perfect = detection_quality(true, np.zeros((2, 4)), [0, 1], [1, 1], true,
                                [0, 1], SIZE)
    assert perfect.summary() == pytest.approx(
        dict(pdq=1, pdq_spatial=1, pdq_label=1))
    # one of two found with a score of 0.25, and one false alarm
    half = detection_quality(true, np.zeros((2, 4)), [0, 0], [.25, .9], true,
                             [0, 1], SIZE)
    assert half.summary() == pytest.approx(
        dict(pdq=0.5 / 3, pdq_spatial=1, pdq_label=0.25))
    none = np.zeros((0, 4))
    missed = detection_quality(none, none, [], [], true, [0, 1], SIZE)
    assert missed.summary() == dict(pdq=0)
    alarm = detection_quality(true, true, [0, 1], [1, 1], none, [], SIZE)
    assert alarm.summary() == dict(pdq=0)
    whole = DetectionQuality.join([perfect, half, missed, alarm])
    assert whole.summary()['pdq'] == pytest.approx(2.5 / (2 + 3 + 2 + 2))
    assert DetectionQuality.join([]).summary() == {}
