"""CCMS, farthest first and k-medoids against loops over boxes."""
import itertools

import numpy as np
import pytest
import torch
from brute import scores_of
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.scores import Scores
from mmal.selection import (
    CategoryMatching,
    MatchingDistance,
    pack_detections,
    unpack_detections,
)
from mmal.selection import category_matching as module

WIDTH, NUMBER = 3, 4


def images_of(rng, number):
    """Each a list of (class, score, feature)."""
    return [[(int(rng.integers(3)), float(np.float32(rng.uniform(.1, 1))),
              rng.normal(size=WIDTH).astype(np.float32))
             for _ in range(rng.integers(NUMBER + 1))]
            for _ in range(number)]


def rows_of(images):
    rows = []
    for found in images:
        n = len(found)
        rows.append(pack_detections(
            torch.tensor([[c for c, _, _ in found]]).long().reshape(1, n),
            torch.tensor([[p for _, p, _ in found]]).reshape(1, n),
            torch.tensor(np.array([f for *_, f in found], np.float32)
                         ).reshape(1, n, WIDTH),
            torch.ones(1, n, dtype=torch.bool), NUMBER)[0])
    return torch.stack(rows).numpy()


def distance_by_hand(a, b):
    if not a and not b:
        return 0.0

    def towards(x, y):
        total = 0.0
        for c, p, f in x:
            best = -1.0
            for d, _, g in y:
                if d == c:
                    f, g = np.float64(f), np.float64(g)
                    best = max(best, f @ g / np.linalg.norm(f)
                               / np.linalg.norm(g))
            total += p * best
        return total / sum(p for _, p, _ in x) if x else -1.0

    return 1 - (towards(a, b) + towards(b, a)) / 2


def table_by_hand(images):
    table = np.array([[distance_by_hand(a, b) for b in images]
                      for a in images])
    np.fill_diagonal(table, 0)
    return table


def farthest_by_hand(table, tiebreak, chosen):
    chosen, order = list(chosen), []
    while len(chosen) < len(table):
        left = [i for i in range(len(table)) if i not in chosen]
        order.append(min(left, key=lambda i: (
            -min(table[i][c] for c in chosen), tiebreak[i])))
        chosen.append(order[-1])
    return order


def medoids_by_hand(table, tiebreak, centres, iterations):
    centres = list(centres)
    for _ in range(iterations):
        clusters = [[] for _ in centres]
        for i in range(len(table)):
            if i in centres:
                clusters[centres.index(i)].append(i)
            else:
                clusters[int(np.argmin([table[i][c] for c in centres]))
                         ].append(i)
        moved = [min(own, key=lambda i: (
            sum(table[i][j] for j in own), tiebreak[i])) for own in clusters]
        if moved == centres:
            break
        centres = moved
    return centres


def selector_of(clusters, **kwargs):
    """With so many medoids, whatever is drawn."""
    return CategoryMatching(bool(clusters), **kwargs).with_draws(clusters)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(2, 7))
def test_distance_equals_boxes_one_by_one(seed, number):
    images = images_of(np.random.default_rng(seed), number)
    distance = MatchingDistance(
        unpack_detections('Test', rows_of(images)), number)
    table = torch.stack([distance.to(i) for i in range(number)]).numpy()
    np.testing.assert_allclose(table, table_by_hand(images), atol=1e-6)
    np.testing.assert_allclose(table, table.T, atol=1e-9)


def test_many_detections_are_compared_in_parts(monkeypatch):
    images = images_of(np.random.default_rng(3), 6)
    rows = unpack_detections('Test', rows_of(images))
    whole = [MatchingDistance(rows, 6).to(i) for i in range(6)]
    monkeypatch.setattr(module, '_ROWS', 2)
    for i in range(6):
        torch.testing.assert_close(MatchingDistance(rows, 6).to(i), whole[i])


def without_near_ties(table):
    """Where rounding cannot decide, but for the images without a box."""
    values = np.sort(table[np.triu_indices(len(table), 1)])
    return all(b - a > 1e-5 or b - a == 0 for a, b in
               itertools.pairwise(values))


@pytest.mark.parametrize('seed', range(8))
@pytest.mark.parametrize('clusters', [None, 1, 3, 20])
def test_order_equals_loops(seed, clusters):
    images = images_of(np.random.default_rng(seed), 9)
    rows, table = rows_of(images), table_by_hand(images)
    assert without_near_ties(table)
    scores = scores_of(np.random.default_rng(seed).uniform(size=9))
    selector = selector_of(clusters, start='best', max_iters=4)
    first = int(np.argmax(scores.values))
    farthest = farthest_by_hand(table, scores.tiebreak, [first])
    start = [first]
    if clusters:
        start = medoids_by_hand(table, scores.tiebreak,
                                [first, *farthest][:clusters], 4)
    truth = start + farthest_by_hand(table, scores.tiebreak, start)
    assert selector.select(scores, 9, rows) == [scores.ids[i] for i in truth]


def test_ten_copies_of_three_images_are_three_clusters():
    images = images_of(np.random.default_rng(0), 3) * 10
    assert all(images[:3])
    order = CategoryMatching().select(
        scores_of(np.ones(30)), 3, rows_of(images))
    assert {int(i.split()[1]) % 3 for i in order} == {0, 1, 2}
    # more clusters than there are different images
    assert len(set(selector_of(7).select(
        scores_of(np.ones(30)), 30, rows_of(images)))) == 30


def test_images_without_a_score_come_last():
    images = images_of(np.random.default_rng(1), 6)
    values = np.array([.1, -np.inf, .5, .2, -np.inf, .3])
    for clusters in (None, 2, 9):
        order = selector_of(clusters).select(
            scores_of(values, np.arange(6) / 6), 6, rows_of(images))
        assert order[4:] == ['image 1', 'image 4']
        assert set(order) == {f'image {i}' for i in range(6)}
    nothing = scores_of(np.full(6, -np.inf), np.arange(6) / 6)
    assert selector_of(2).select(nothing, 6, rows_of(images)) == \
        nothing.ids


def test_the_first_is_another_one_each_round():
    images, firsts = images_of(np.random.default_rng(2), 8), set()
    scores = scores_of(np.ones(8))
    for round in range(12):
        selector = CategoryMatching(False)
        selector.prepare(round)
        firsts.add(selector.select(scores, 1, rows_of(images))[0])
    assert len(firsts) > 3


def test_the_order_of_the_pool_does_not_matter():
    images = images_of(np.random.default_rng(4), 9)
    rows, scores = rows_of(images), scores_of(np.ones(9))
    turned = np.random.default_rng(5).permutation(9)
    shuffled = Scores([scores.ids[i] for i in turned], scores.values[turned],
                      scores.tiebreak[turned])
    for clusters in (None, 4):
        selector = selector_of(clusters)
        assert selector.select(scores, 9, rows) == selector.select(
            shuffled, 9, rows[turned])


@pytest.mark.parametrize('kwargs, message', [
    (dict(max_iters=0), 'max_iters is 0'),
    (dict(start='labelled'), "start is 'labelled'"),
    (dict(dtype='float64'), "dtype is 'float64'")])
def test_mistakes_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        CategoryMatching(**kwargs)


def test_medoids_need_their_number():
    rows = rows_of(images_of(np.random.default_rng(0), 4))
    with pytest.raises(ValueError, match='Set medoids=False'):
        CategoryMatching().order([1., 2., 3., 4.], rows)
    chosen = CategoryMatching().select([1., 2., 3., 4.], 2, rows)
    assert chosen == selector_of(2).select([1., 2., 3., 4.], 2, rows)


def test_other_embeddings_are_refused():
    with pytest.raises(ValueError, match='embeddings of shape'):
        CategoryMatching(False).order([1., 2.], np.ones((3, 4), np.float32))
    with pytest.raises(ValueError, match='needs the detections'):
        CategoryMatching(False).order([1., 2.], np.zeros((2, 4), np.float32))
