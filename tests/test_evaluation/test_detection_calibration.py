"""D-ECE, LaECE, LaACE and LRP against loops over images and detections."""
import dataclasses
import doctest
import importlib
import math

import numpy as np
import pytest

from mmal.evaluation import (
    MatchedDetections,
    detection_ece,
    expected_calibration_error,
    laace,
    laece,
    lrp,
    match_image,
    optimal_lrp,
)
from mmal.evaluation.uncertainty_shift import box_iou

SIZE = (40, 30)


def image(rng, truths=5, found=12, classes=3):
    """A crowded image; scores are multiples of 0.1, so that some are equal."""
    def boxes(n):
        corner = rng.uniform(0, 20, (n, 2))
        return np.concatenate(
            [corner, corner + rng.uniform(4, 12, (n, 2))], 1)

    true = boxes(truths)
    near = true[rng.integers(0, truths, found)] + rng.normal(0, 1, (found, 4))
    return dict(
        boxes=np.where(rng.random((found, 1)) < 0.8, near, boxes(found)),
        labels=rng.integers(0, classes, found),
        scores=rng.integers(1, 11, found) / 10,
        true_boxes=true,
        true_labels=rng.integers(0, classes, truths),
        ignored=rng.random(truths) < 0.2)


def images(seed, count=6, **options):
    rng = np.random.default_rng(seed)
    return [image(rng, **options) for _ in range(count)]


def joined(pictures, thr):
    return MatchedDetections.join(
        match_image(**p, iou_thr=thr, size=SIZE) for p in pictures)


def pairs_by_hand(picture, label, thr):
    """Score and IoU, 0 for a false alarm, of each detection of a class."""
    objects = [(box, ignore) for box, c, ignore in zip(
        picture['true_boxes'], picture['true_labels'], picture['ignored'])
        if c == label]
    free = [not ignore for _, ignore in objects]
    pairs = []
    for i in np.argsort(-picture['scores'], kind='stable'):
        if picture['labels'][i] != label:
            continue
        box = picture['boxes'][i]
        ious = [box_iou(box, o)[0, 0] for o, _ in objects]
        fits = [k for k in range(len(objects))
                if free[k] and ious[k] > 0 and ious[k] >= thr]
        if fits:
            best = max(fits, key=lambda k: ious[k])
            free[best] = False
            pairs.append((picture['scores'][i], ious[best]))
        elif not any(ignore and share(box, o) > 0 and share(box, o) >= thr
                     for o, ignore in objects):
            pairs.append((picture['scores'][i], 0.0))
    return pairs


def share(box, region):
    """The share of a box that is in a region."""
    width = min(box[2], region[2]) - max(box[0], region[0])
    height = min(box[3], region[3]) - max(box[1], region[1])
    return max(width, 0) * max(height, 0) / (
        (box[2] - box[0]) * (box[3] - box[1]))


def of_classes(pictures, thr):
    """Pairs, and how many objects there are, of each class with objects."""
    labels = {c for p in pictures
              for c, ignore in zip(p['true_labels'], p['ignored'])
              if not ignore}
    return {
        c: ([pair for p in pictures for pair in pairs_by_hand(p, c, thr)],
            sum(t == c and not ignore for p in pictures
                for t, ignore in zip(p['true_labels'], p['ignored'])))
        for c in sorted(labels)
    }


@pytest.mark.parametrize('thr', [0, 0.1, 0.5])
@pytest.mark.parametrize('seed', range(6))
def test_matches_equal_loops(seed, thr):
    pictures = images(seed)
    found = joined(pictures, thr)
    for label, (pairs, objects) in of_classes(pictures, thr).items():
        one = found.of_class(label)
        assert len(one.true_labels) == objects
        np.testing.assert_allclose(
            sorted(zip(one.scores, one.ious)), sorted(pairs))
        np.testing.assert_array_equal(one.matched, one.ious > 0)
    assert found.matched.any() and not found.matched.all()


@pytest.mark.parametrize('thr', [0, 0.5])
@pytest.mark.parametrize('seed', range(4))
def test_laece_and_laace_equal_loops(seed, thr):
    pictures = images(seed)
    # away from edges of bins, where rounding decides
    for picture in pictures:
        picture['scores'] = picture['scores'] - 0.013
    binned, single = [], []
    for pairs, _ in of_classes(pictures, thr).values():
        if not pairs:
            continue
        error = 0
        for b in range(25):
            inside = [(s, iou) for s, iou in pairs if b < 25 * s <= b + 1]
            hits = [iou for _, iou in inside if iou > 0]
            if inside:
                precision = len(hits) / len(inside)
                quality = precision * np.mean(hits) if hits else 0
                error += len(inside) / len(pairs) * abs(
                    np.mean([s for s, _ in inside]) - quality)
        binned.append(error)
        single.append(np.mean([abs(s - iou) for s, iou in pairs]))
    found = joined(pictures, thr)
    assert laece(found) == pytest.approx(np.mean(binned))
    assert laace(found) == pytest.approx(np.mean(single))
    # one detection in each bin at most
    few = found.of_class(1)
    few = dataclasses.replace(few, scores=np.arange(len(few)) / len(few))
    assert laece(few, 10**4) == pytest.approx(laace(few))


@pytest.mark.parametrize('thr', [0, 0.5])
@pytest.mark.parametrize('seed', range(4))
def test_lrp_equals_matching_again_at_each_threshold(seed, thr):
    pictures = images(seed)
    found = joined(pictures, thr)
    expected = {}
    for score in [*np.arange(1, 11) / 10, 2.0]:
        kept = []
        for p in pictures:
            above = p['scores'] >= score
            kept.append({k: v[above] if k in ('boxes', 'labels', 'scores')
                         else v for k, v in p.items()})
        at = lrp(found, score, thr)
        for i, (label, (pairs, objects)) in enumerate(
                of_classes(kept, thr).items()):
            hits = [iou for _, iou in pairs if iou > 0]
            wrong, missed = len(pairs) - len(hits), objects - len(hits)
            total = len(hits) + wrong + missed
            error = (sum((1 - iou) / (1 - thr) for iou in hits) + wrong +
                     missed) / total
            row = (error, np.mean([1 - iou for iou in hits])
                   if hits else math.nan,
                   wrong / len(pairs) if pairs else math.nan,
                   missed / objects)
            got = (at.errors[i], at.localisation[i], at.false_positives[i],
                   at.false_negatives[i])
            assert got == pytest.approx(row, nan_ok=True)
            assert at.labels[i] == label and at.thresholds[i] == score
            if label not in expected or error <= expected[label][0] + 1e-12:
                expected[label] = row
    best = optimal_lrp(found, thr)
    for i, label in enumerate(best.labels):
        assert best.errors[i] == pytest.approx(expected[label][0])
        again = lrp(found.of_class(label), best.thresholds[i], thr)
        for name in ('errors', 'localisation', 'false_positives',
                     'false_negatives'):
            np.testing.assert_allclose(
                getattr(again, name)[0], getattr(best, name)[i])


def test_lrp_by_hand():
    """Two objects: one found with IoU 0.8, then a false alarm."""
    found = match_image(
        [[0, 0, 10, 8.], [50, 50, 60, 60]], [0, 0], [0.9, 0.4],
        [[0, 0, 10, 10.], [20, 20, 30, 30]], [0, 0], [False, False])
    all_of_them = lrp(found).means()
    assert all_of_them == pytest.approx(dict(
        lrp=(0.2 / 0.5 + 1 + 1) / 3, lrp_loc=0.2, lrp_fp=0.5, lrp_fn=0.5))
    best = optimal_lrp(found)
    assert best.thresholds.tolist() == [0.9]
    assert best.means() == pytest.approx(dict(
        lrp=(0.2 / 0.5 + 1) / 2, lrp_loc=0.2, lrp_fp=0, lrp_fn=0.5))


def test_lrp_of_extremes():
    """A perfect detector has 0; a class that was not found at all has 1."""
    boxes = np.array([[0, 0, 10, 10.], [20, 20, 30, 30]])
    perfect = match_image(boxes, [0, 1], [1, 1], boxes, [0, 1], [False] * 2)
    assert optimal_lrp(perfect).means() == dict(
        lrp=0, lrp_loc=0, lrp_fp=0, lrp_fn=0)
    assert laece(perfect) == laace(perfect) == 0
    half = match_image(boxes[:1], [0], [1], boxes, [0, 1], [False] * 2)
    found = optimal_lrp(half)
    assert found.errors.tolist() == [0, 1]
    assert np.isinf(found.thresholds).tolist() == [False, True]
    assert found.means() == dict(lrp=0.5, lrp_loc=0, lrp_fp=0, lrp_fn=0.5)


def test_a_class_without_objects_is_left_out():
    boxes = np.array([[0, 0, 10, 10.], [20, 20, 30, 30]])
    found = match_image(boxes, [0, 1], [1, 1], boxes[:1], [0], [False])
    assert laece(found) == laace(found) == 0
    assert optimal_lrp(found).labels.tolist() == [0]


def test_nothing():
    none = MatchedDetections.join([])
    assert len(none) == 0 and none.places.shape == (0, 4)
    assert math.isnan(laece(none)) and math.isnan(laace(none))
    assert np.isnan(list(optimal_lrp(none).means().values())).all()
    assert math.isnan(detection_ece([], []))
    assert math.isnan(detection_ece([], [], np.zeros((0, 4))))
    assert math.isnan(detection_ece([.5], [1], min_count=2))


@pytest.mark.parametrize('bins', [7, 20])
def test_d_ece_of_scores_is_ece(bins):
    found = joined(images(0), 0.5)
    assert detection_ece(found.scores, found.matched, bins=bins) == \
        pytest.approx(expected_calibration_error(
            found.scores, found.matched, bins))


@pytest.mark.parametrize('columns, bins, least', [
    ([0, 1], 4, 1), ([2, 3], [3, 5, 2], 1), ([0, 1, 2, 3], 3, 4)])
def test_d_ece_of_places_equals_loops(columns, bins, least):
    found = joined(images(1, count=20), 0.5)
    places = found.places[:, columns]
    shape = [bins] * (1 + len(columns)) if isinstance(bins, int) else bins
    cells = {}
    for score, hit, place in zip(found.scores, found.matched, places):
        cell = []
        for value, count in zip((score, *place), shape):
            edges = np.linspace(0, 1, count + 1)
            value = min(max(value, 0), 1)
            cell.append(next(b for b in range(count)
                             if value <= edges[b + 1]))
        cells.setdefault(tuple(cell), []).append((score, hit))
    kept = [c for c in cells.values() if len(c) >= least]
    assert len(kept) > 3 and (least == 1 or len(kept) < len(cells))
    expected = sum(
        len(c) * abs(np.mean([s for s, _ in c]) - np.mean([h for _, h in c]))
        for c in kept) / sum(map(len, kept))
    assert detection_ece(found.scores, found.matched, places, bins,
                         least) == pytest.approx(expected)


def test_d_ece_sees_what_the_ece_of_scores_hides():
    """Too sure on the left, too unsure on the right, right on average."""
    rng = np.random.default_rng(0)
    x = rng.random(20000)
    matched = rng.random(20000) < np.where(x < 0.5, 0.3, 0.7)
    scores = np.full(20000, 0.5)
    assert detection_ece(scores, matched) < 0.02
    assert detection_ece(scores, matched, x[:, None], 2) == pytest.approx(
        0.2, abs=0.02)


def test_places_are_shares_of_the_image():
    found = match_image([[10, 6, 30, 15.]], [0], [1], np.zeros((0, 4)), [],
                        [], size=SIZE)
    assert found.places.tolist() == [[0.5, 0.35, 0.5, 0.3]]


@pytest.mark.parametrize('call, message', [
    (lambda f: detection_ece([1.5], [1]), 'confidence is not in'),
    (lambda f: detection_ece([.5], [1], [[np.nan]]), 'size of the images'),
    (lambda f: detection_ece([.5], [1], [[.5]], [3]), '1 numbers of bins'),
    (lambda f: detection_ece([.5], [1], bins=0), 'bins is 0'),
    (lambda f: laece(f, 0), 'bins is 0'),
    (lambda f: laece(dataclasses.replace(f, scores=f.scores + 3)),
     'confidence is not in'),
    (lambda f: lrp(f, iou_thr=1), 'divides by'),
    (lambda f: optimal_lrp(f, -1), 'divides by'),
    (lambda f: match_image([], [], [], [], [], [], 1.5), 'iou_thr is 1.5'),
])
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(joined(images(0, count=1), 0.5))


def test_examples():
    module = importlib.import_module('mmal.evaluation.detection_calibration')
    assert doctest.testmod(module).failed == 0
