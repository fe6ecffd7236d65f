"""Suspicious labels against a slow reference, and by hand."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.evaluation.label_errors import BoxTable, find_suspects


def iou(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def isotonic(scores, right):
    """max over starts of min over ends of the mean between them: the least
    squares fit that does not fall, by its minimax formula."""
    order = np.argsort(scores, kind='stable')
    hits = np.array(right, float)[order]
    n = len(hits)
    fit = np.zeros(n)
    for i in range(n):
        fit[order[i]] = max(
            min(hits[a:b + 1].mean() for b in range(i, n))
            for a in range(i + 1))
    return fit


def greedy(pairs):
    """Pairs (value, given, predicted, …), the largest first, one to one."""
    chosen, used = [], set()
    for pair in sorted(pairs, key=lambda p: -p[0]):
        if not {('g', pair[1]), ('p', pair[2])} & used:
            used |= {('g', pair[1]), ('p', pair[2])}
            chosen.append(pair[1:3])
    return chosen


def slow(labels, predictions, trust):
    """The suspects by loops, as (kind, given, predicted, value)."""
    overlap = {(g, p): iou(a[2], b[2]) if a[0] == b[0] else 0
               for g, a in enumerate(labels) if not a[3]
               for p, b in enumerate(predictions)}

    def inside(p):
        box = predictions[p][2]
        return any(
            a[3] and a[0] == predictions[p][0] and
            max(0, min(a[2][0] + a[2][2], box[0] + box[2]) -
                max(a[2][0], box[0])) *
            max(0, min(a[2][1] + a[2][3], box[1] + box[3]) -
                max(a[2][1], box[1])) > box[2] * box[3] / 2 for a in labels)

    same = {k for k in overlap if labels[k[0]][1] == predictions[k[1]][1]}
    paired = greedy([(predictions[k[1]][4] + 1e-6 * overlap[k], *k)
                     for k in same if overlap[k] >= .5])
    t = trust(dict.fromkeys((p for _, p in paired), True),
              [p for p in range(len(predictions)) if not inside(p)])
    doubt = {g: 1 - t[p] for g, p in paired}
    found = []
    for g in range(len(labels)):
        others = [(t[p] * overlap[g, p] * doubt.get(g, 1), p)
                  for p in range(len(predictions))
                  if (g, p) in overlap and (g, p) not in same
                  and overlap[g, p] >= .5]
        if others:
            value, p = max(others, key=lambda o: (o[0], -o[1]))
            found.append(('class', g, p, value))
    largest = [max([overlap[k] for k in overlap if k[1] == p], default=0)
               for p in range(len(predictions))]
    free = [p for p in range(len(predictions))
            if largest[p] < .5 and not inside(p)]
    near = greedy([
        (t[k[1]] * overlap[k] * doubt.get(k[0], 1), *k) for k in same
        if k[1] in free and doubt.get(k[0], 1) >= .5 and overlap[k] >= .1])
    moved = {g for g, _ in near}
    for g, p in [*(k for k in paired if k[0] not in moved), *near]:
        found.append(('badly placed', g, p, t[p] * (1 - overlap[g, p]) *
                      (doubt.get(g, 1) if g in moved else 1)))
    for p in set(free) - {p for _, p in near}:
        found.append(('overlooked', -1, p, t[p] * (1 - largest[p])))
    return {(k, g, p): v for k, g, p, v in found if v > 0}


def boxes_of(number, generator):
    """Image, class, box and whether it is a crowd."""
    return [(int(generator.integers(3)), int(generator.integers(2)),
             (*generator.uniform(0, 60, 2), *generator.uniform(5, 40, 2)),
             bool(generator.random() < .15)) for _ in range(number)]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_suspects_are_those_of_the_slow_way(labels, predictions, seed):
    generator = np.random.default_rng(seed)
    labels, predictions = (boxes_of(n, generator)
                           for n in (labels, predictions))
    # some predictions are labels that moved a little
    for image, label, box, crowd in labels[::2]:
        shift = generator.uniform(-6, 6, 2)
        predictions.append(
            (image, label, (*(box[:2] + shift), *box[2:]), crowd))
    scores = generator.random(len(predictions))
    classes = np.array([b[1] for b in predictions], int)

    def trust(right, counts):
        out = scores.copy()
        for label in set(classes.tolist()):
            own = [p for p in counts if classes[p] == label]
            if not own:
                continue
            hits = np.array([p in right for p in own], float)
            fit = isotonic(scores[own], hits)
            # steps of equal fit, each with one right and one wrong more
            level = np.array([
                (hits[fit == f].sum() + 1) / ((fit == f).sum() + 2)
                for f in fit])
            order = np.argsort(scores[own], kind='stable')
            level[order] = np.maximum.accumulate(level[order])
            out[own] = 0.9 * level + 0.1 * scores[own]
        return out

    found = find_suspects(
        BoxTable([a[0] for a in labels], [a[1] for a in labels],
                 np.array([a[2] for a in labels]),
                 crowds=[a[3] for a in labels]),
        BoxTable([b[0] for b in predictions], classes,
                 np.array([b[2] for b in predictions]), scores))
    fast = {(k, g, p): v for k, g, p, v in zip(
        found.kinds.tolist(), found.given.tolist(), found.predicted.tolist(),
        found.values.tolist())}
    expected = slow(labels, [(*b, s) for b, s in zip(predictions, scores)],
                    trust)
    assert fast.keys() == expected.keys()
    for key, value in expected.items():
        assert fast[key] == pytest.approx(value, abs=1e-9)
    assert (np.diff(found.values) <= 0).all()


def many(number):
    """Images of one box each, found where it is, by class 0; scores 0.9."""
    images = np.arange(number)
    boxes = np.tile([10., 10., 20., 20.], (number, 1))
    return images, np.zeros(number, int), boxes


def test_each_kind_by_hand():
    images, classes, boxes = many(100)
    given_boxes, given_classes = boxes.copy(), classes.copy()
    given_boxes[1, 0] = 20  # IoU 1/3 with what is found
    given_classes[2] = 1
    kept = images != 0
    found = find_suspects(
        BoxTable(images[kept], given_classes[kept], given_boxes[kept]),
        BoxTable(images, classes, boxes, np.full(100, .9)))
    best = [(k, found.predicted[i]) for i, k in enumerate(found.kinds[:3])]
    assert set(best) == {('overlooked', 0), ('badly placed', 1), ('class', 2)}
    assert found.overlaps[found.kinds == 'badly placed'][0] == pytest.approx(
        1 / 3)
    # 97 of 100 are right, those of the class's 100 predictions
    trust = 0.9 * 98 / 102 + 0.1 * 0.9
    assert found.of('overlooked').values[0] == pytest.approx(trust)
    assert found.of('class').values[0] == pytest.approx(trust)
    assert found.of('badly placed').values[0] == pytest.approx(trust * 2 / 3)
    # given boxes are counted without the one that was left out
    assert found.of('badly placed').given[0] == 0
    assert found.of('class').given[0] == 1


def test_nothing_is_overlooked_in_a_crowd():
    images, classes, boxes = many(2)
    crowd = BoxTable([0], [0], [[0, 0, 60, 60]], crowds=[True])
    found = find_suspects(crowd, BoxTable(images, classes, boxes,
                                          np.full(2, .9)))
    assert found.kinds.tolist() == ['overlooked']
    assert found.predicted.tolist() == [1]


@pytest.mark.parametrize('labels, predictions', [
    (0, 0), (0, 5), (5, 0)])
def test_no_boxes_on_one_side(labels, predictions):
    found = find_suspects(BoxTable(*many(labels)), BoxTable(
        *many(predictions), np.full(predictions, .5)))
    assert found.kinds.tolist() == ['overlooked'] * predictions


def test_columns_of_unequal_length_are_named():
    with pytest.raises(ValueError, match='2 images of boxes, but 1 classes'):
        BoxTable([0, 1], [0], np.zeros((2, 4)))
