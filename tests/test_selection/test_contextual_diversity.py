"""Contextual diversity and its k-center against loops over classes."""
import math

import numpy as np
import pytest
import torch
from brute import scores_of
from hypothesis import given, settings
from hypothesis import strategies as st
from test_category_matching import farthest_by_hand

from mmal.selection import ContextualDistance, ContextualDiversity

CLASSES = 3


def rows_of(rng, number, width=CLASSES, shown=.6):
    table = rng.dirichlet(np.ones(width), (number, CLASSES))
    table *= rng.uniform(size=(number, CLASSES, 1)) < shown
    return table.reshape(number, -1).astype(np.float32)


def distance_by_hand(chosen, other):
    a, b = (np.float64(x).reshape(CLASSES, -1) for x in (chosen, other))
    if not b.any():
        return 0.0
    values = []
    for p, q in zip(a, b):
        if p.any() and q.any():
            p, q = np.maximum(p, 1e-6), np.maximum(q, 1e-6)
            values.append(sum(x * math.log(x / y) + y * math.log(y / x)
                              for x, y in zip(p, q)) / 2)
    return np.mean(values) if values else -math.log(1e-6)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 6),
       st.sampled_from([CLASSES, CLASSES + 1]))
def test_distance_equals_classes_one_by_one(seed, number, width):
    rows = rows_of(np.random.default_rng(seed), number, width)
    distance = ContextualDistance(rows)
    table = torch.stack([distance.to(i) for i in range(number)]).numpy()
    truth = [[distance_by_hand(a, b) for b in rows] for a in rows]
    np.testing.assert_allclose(table, truth, rtol=1e-6, atol=1e-9)


def test_the_farthest_is_that_of_no_common_class():
    """Even two certain classes that are never confused are nearer."""
    rows = np.zeros((3, 9), np.float32)
    rows[0, 0] = rows[1, 1] = rows[2, 8] = 1
    distance = ContextualDistance(rows).to(0)
    assert 0 == distance[0] < distance[1] < distance[2]


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('start', ['labelled', 'best'])
def test_order_equals_loops(seed, start):
    rng = np.random.default_rng(seed)
    rows, labelled = rows_of(rng, 9), rows_of(rng, 3)
    scores = scores_of(rng.uniform(size=9))
    every = np.concatenate([rows, labelled]) if start == 'labelled' else rows
    table = np.array([[distance_by_hand(b, a) for b in every] for a in every])
    tiebreak = [*scores.tiebreak, *np.ones(len(every) - 9)]
    first = [9, 10, 11] if start == 'labelled' else [
        int(np.argmax(scores.values))]
    truth = [i for i in first if i < 9] + farthest_by_hand(
        table, tiebreak, first)
    found = ContextualDiversity(start).select(scores, 9, rows, labelled)
    assert found == [scores.ids[i] for i in truth]


def test_what_shows_nothing_or_has_no_score_comes_last():
    rng = np.random.default_rng(0)
    rows = rows_of(rng, 6, shown=1.)
    rows[1] = 0
    scores = scores_of([1, 2, 3, -np.inf, 5, 6], np.arange(6) / 6)
    for start in ('labelled', 'random', 'best'):
        order = ContextualDiversity(start, seed=3).select(
            scores, 6, rows, rows_of(rng, 2, shown=1.))
        assert order[5] == 'image 3' and order[4] == 'image 1'
    nothing = scores_of(np.full(6, -np.inf), np.arange(6) / 6)
    assert ContextualDiversity('random').select(
        nothing, 6, rows) == nothing.ids


def test_a_labelled_image_that_shows_nothing_changes_nothing():
    rng = np.random.default_rng(4)
    rows, labelled = rows_of(rng, 9, shown=.8), rows_of(rng, 3, shown=1.)
    scores = scores_of(rng.uniform(size=9))
    orders = [ContextualDiversity().select(scores, 9, rows, other)
              for other in (labelled, np.append(labelled, 0 * labelled, 0))]
    assert orders[0] == orders[1]
    assert orders[0] != [scores.ids[i] for i in np.argsort(scores.tiebreak)]


def test_random_starts_differ_by_round():
    rows, firsts = rows_of(np.random.default_rng(1), 9), set()
    for round in range(12):
        selector = ContextualDiversity('random')
        selector.prepare(round)
        firsts.add(selector.select(scores_of(np.ones(9)), 1, rows)[0])
    assert len(firsts) > 3


def test_half_precision_gives_nearly_the_same_distances():
    rows = rows_of(np.random.default_rng(2), 5)
    whole, half = (ContextualDistance(r).to(0) for r in (
        rows, rows.astype(np.float16)))
    torch.testing.assert_close(half, whole, rtol=.02, atol=.02)


def test_mistakes_are_named():
    scores, rows = scores_of([1, 2]), rows_of(np.random.default_rng(0), 2)
    with pytest.raises(ValueError, match="start is 'far'"):
        ContextualDiversity('far')
    with pytest.raises(ValueError, match="start='random'"):
        ContextualDiversity().order(scores, rows)
    with pytest.raises(ValueError, match='those of the labelled images 4'):
        ContextualDiversity().order(scores, rows, np.ones((1, 4)))
    for other in (np.ones((2, 5)), np.ones((2, 9)), np.full((2, 9), np.nan)):
        with pytest.raises(ValueError, match='ClassDistributionEmbedder'):
            ContextualDiversity('best').order(scores, other)
