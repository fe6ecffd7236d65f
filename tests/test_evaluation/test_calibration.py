"""Calibration against loops, known distributions and pycocotools."""
import contextlib
import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy import stats

from mmal.evaluation.calibration import (
    expected_calibration_error,
    gaussian_nll,
    interval_coverage,
    match_to_truth,
    reliability,
)
from mmal.evaluation.calibration_data import CalibrationData


def ece_by_loops(confidences, correct, bins):
    total = 0.0
    for b in range(bins):
        inside = [i for i, c in enumerate(confidences)
                  if b / bins < c <= (b + 1) / bins or (b == 0 and c == 0)]
        if inside:
            accuracy = sum(correct[i] for i in inside) / len(inside)
            mean = sum(confidences[i] for i in inside) / len(inside)
            total += len(inside) / len(confidences) * abs(accuracy - mean)
    return total


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=40),
       st.integers(1, 20))
def test_ece_equals_loops(pairs, bins):
    confidences = np.array([c for c, _ in pairs])
    # edges of a power of two have no rounding
    bins = 2**(bins % 5)
    correct = np.array([r for _, r in pairs], dtype=bool)
    found = reliability(confidences, correct, bins)
    assert found.error == pytest.approx(
        ece_by_loops(confidences, correct, bins), abs=1e-12)
    assert 0 <= found.error <= 1 and found.counts.sum() == len(pairs)
    assert np.isfinite([found.confidence, found.accuracy]).all()


def test_by_hand():
    found = reliability([0.2, 0.9, 0.8, 0.6], [0, 1, 1, 0], bins=2)
    assert found.counts.tolist() == [1, 3]
    assert found.accuracy.tolist() == pytest.approx([0, 2 / 3])
    assert found.confidence.tolist() == pytest.approx([0.2, 2.3 / 3])
    assert found.error == pytest.approx(0.25 * 0.2 + 0.75 * 0.1)
    assert expected_calibration_error([], []) == 0


def test_calibrated_scores_have_the_error_of_sampling():
    """Each bin's gap is about normal with variance mean(p(1 - p)) / n."""
    rng = np.random.default_rng(0)
    p = rng.random(30000)
    found = reliability(p, rng.random(30000) < p)
    spread = np.sqrt(found.confidence * (1 - found.confidence) / found.counts)
    gaps = np.abs(found.confidence - found.accuracy)
    assert (gaps < 4 * spread).all()
    assert found.error == pytest.approx(
        np.sqrt(2 / np.pi) * spread.mean(), rel=0.6)
    assert found.error < 0.01


def test_overconfident_scores_have_their_gap():
    rng = np.random.default_rng(0)
    p = 0.5 + rng.random(30000) / 2
    found = expected_calibration_error(p, rng.random(30000) < p - 0.3)
    assert found == pytest.approx(0.3, abs=4 * 0.5 / math.sqrt(30000))


@pytest.mark.parametrize('factor', [1.0, 0.5, 2.0])
def test_coverage_of_gaussians(factor):
    """Stds that are too small or too large by a factor, too."""
    rng = np.random.default_rng(0)
    stds = rng.uniform(0.5, 20, (5000, 4))
    errors = stds * rng.standard_normal((5000, 4))
    levels = [0.5, 0.9, 0.95]
    found = interval_coverage(errors, factor * stds, levels)
    z = factor * stats.norm.ppf((1 + np.array(levels)) / 2)
    expected = 2 * stats.norm.cdf(z) - 1
    np.testing.assert_allclose(
        found, expected, atol=4 * 0.5 / math.sqrt(errors.size))


def test_nll_of_gaussians():
    rng = np.random.default_rng(0)
    errors = rng.normal(0, 5, (7, 4))
    stds = rng.uniform(0.1, 9, (7, 4))
    np.testing.assert_allclose(gaussian_nll(errors, stds),
                               -stats.norm.logpdf(errors, 0, stds))
    best = [gaussian_nll(errors, np.full((7, 4), s)).mean()
            for s in (1, np.sqrt((errors**2).mean()), 20)]
    assert best[1] < best[0] and best[1] < best[2]


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(0, 9),
    scale=st.sampled_from([0.0, 1e-9, 1.0, 1e6]),
    std=st.sampled_from([0.0, 1e-9, 1.0, 1e9]),
    half=st.booleans(),
    seed=st.integers(0, 99))
def test_intervals_equal_loops_and_stay_finite(n, scale, std, half, seed):
    rng = np.random.default_rng(seed)
    kind = np.float16 if half else np.float64
    errors = (scale * rng.standard_normal((n, 4))).clip(-6e4, 6e4).astype(kind)
    stds = (std * rng.random((n, 4))).clip(0, 6e4).astype(kind)
    levels = (0.3, 0.9, 0.999)
    found = interval_coverage(errors, stds, levels)
    for level, share in zip(levels, found):
        z = stats.norm.ppf((1 + level) / 2)
        inside = [abs(float(e)) <= z * max(float(s), 1e-3)
                  for e, s in zip(errors.ravel(), stds.ravel())]
        assert share == pytest.approx(sum(inside) / max(len(inside), 1))
    assert (np.diff(found) >= 0).all()
    assert np.isfinite(gaussian_nll(errors, stds)).all()


@pytest.mark.parametrize('call, message', [
    (lambda: reliability([1.2], [1]), r'confidence is not in \[0, 1\]'),
    (lambda: reliability([np.nan], [1]), 'confidence is not in'),
    (lambda: reliability([0.5], [1], 0), 'bins is 0'),
    (lambda: reliability([0.5], [1], 2.5), 'bins is 2.5'),
    (lambda: gaussian_nll([1.], [-1.]), 'negative'),
    (lambda: gaussian_nll([np.nan], [1.]), 'not finite'),
    (lambda: interval_coverage([1.], [np.inf]), 'not finite'),
    (lambda: interval_coverage([1.], [1.], [90]), '90 in levels'),
])
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_rounded_sums_of_probabilities_are_certain():
    found = reliability([np.float32(1) + np.float32(2e-7)], [True])
    assert found.counts[-1] == 1 and found.error == 0


def scene(rng, truths=8, found=14):
    """Few places, so that much overlaps and IoUs and scores are equal."""
    def boxes(n):
        corner = rng.integers(0, 4, (n, 2)) * 4.0
        return np.concatenate(
            [corner, corner + rng.integers(1, 4, (n, 2)) * 5.0], 1)

    return (boxes(found), rng.integers(0, 2, found),
            rng.integers(1, 6, found) / 5, boxes(truths),
            rng.integers(0, 2, truths), rng.random(truths) < 0.3)


def by_pycocotools(boxes, labels, scores, true, true_labels, ignored, thr):
    """Scores of detections that are right, wrong and left out, by class."""
    def xywh(b):
        return [b[0], b[1], b[2] - b[0], b[3] - b[1]]

    def entries(which, kinds):
        return [dict(id=i + 1, image_id=0, category_id=int(c) + 1,
                     bbox=xywh(b), area=float((b[2] - b[0]) * (b[3] - b[1])),
                     iscrowd=0) for i, (b, c) in enumerate(zip(which, kinds))]

    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = COCO(), COCO()
        content = dict(images=[dict(id=0)],
                       categories=[dict(id=1), dict(id=2)])
        truth.dataset = dict(content, annotations=entries(true, true_labels))
        found.dataset = dict(content, annotations=entries(boxes, labels))
        for entry, crowd in zip(truth.dataset['annotations'], ignored):
            entry['iscrowd'] = int(crowd)
        for entry, score in zip(found.dataset['annotations'], scores):
            entry['score'] = float(score)
        truth.createIndex(), found.createIndex()
        run = COCOeval(truth, found, 'bbox')
        run.params.iouThrs, run.params.areaRng = np.array([thr]), [[0, 1e10]]
        run.params.areaRngLbl = ['all']
        run.evaluate()
    match = np.full(len(boxes), -1)
    for image in run.evalImgs:
        if image is None:
            continue
        for i, hit, skip in zip(image['dtIds'], image['dtMatches'][0],
                                image['dtIgnore'][0]):
            if hit:
                match[i - 1] = -2 if skip else hit - 1
    return match


@pytest.mark.parametrize('seed', range(25))
def test_matches_are_those_of_coco(seed):
    rng = np.random.default_rng(seed)
    args = scene(rng)
    thr = [0.5, 0.3, 0.75, 1.0][seed % 4]
    expected = by_pycocotools(*args, thr)
    found = match_to_truth(*args, thr)
    assert found.tolist() == expected.tolist()
    if thr == 0.5:
        assert (found >= 0).any() and (found == -1).any()


def test_left_out_by_hand():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60.]])
    crowd = np.array([[0, 0, 100, 40.]])
    found = match_to_truth(boxes, [0, 0, 0], [.9, .8, .7], crowd, [0], [True])
    assert found.tolist() == [-2, -2, -1]
    other = match_to_truth(boxes, [1, 1, 1], [.9, .8, .7], crowd, [0], [True])
    assert other.tolist() == [-1, -1, -1]


@pytest.mark.parametrize('n, t', [(0, 0), (0, 2), (2, 0)])
def test_nothing_to_match(n, t):
    found = match_to_truth(np.ones((n, 4)), np.zeros(n, int), np.ones(n),
                           np.ones((t, 4)), np.zeros(t, int),
                           np.zeros(t, bool))
    assert found.tolist() == [-1] * n


def test_summary_of_parts():
    rng = np.random.default_rng(0)
    parts = [
        CalibrationData(rng.random(n), rng.random(n) < 0.5,
                        rng.normal(size=(m, 4)), rng.random((m, 4)) + 1)
        for n, m in ((3, 2), (0, 0), (5, 4))
    ]
    whole = CalibrationData.join(parts)
    assert whole.confidences.shape == (8, ) and whole.stds.shape == (6, 4)
    found = whole.summary(bins=4, levels=(0.5, 0.975))
    errors = np.concatenate([p.errors for p in parts])
    stds = np.concatenate([p.stds for p in parts])
    assert found['box_rmse'] == pytest.approx(
        math.sqrt(np.mean(np.square(errors))))
    assert found['box_std'] == pytest.approx(stds.mean())
    assert found['box_nll'] == pytest.approx(
        -stats.norm.logpdf(errors, 0, stds).mean())
    assert found['coverage_97.5'] == interval_coverage(errors, stds, [0.975])
    assert found['overconfidence'] == pytest.approx(
        whole.confidences.mean() - whole.correct.mean())
    assert CalibrationData.join([]).summary() == dict(detections=0, matched=0)
