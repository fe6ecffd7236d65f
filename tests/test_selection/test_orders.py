"""What the order of every selector has in common."""
from itertools import islice

import numpy as np
import pytest
import torch
from brute import scores_of
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.selection import (
    BatchInfluence,
    BottomN,
    CoreSet,
    GradientMatching,
    KMeansPlusPlus,
    Quota,
    RandomSubset,
    RoundRobin,
    SparseModeling,
    TopBottom,
    TopN,
    TopThird,
    TwoStage,
)

BY_SCORE = [TopN(), BottomN(), TopBottom(), TopThird(), RandomSubset(3)]
GREEDY = [
    selector(start=start, weighted=weighted)
    for selector in (CoreSet, KMeansPlusPlus)
    for start in ('labelled', 'random', 'best') for weighted in (False, True)
] + [KMeansPlusPlus(trials=3)]
BY_EMBEDDING = [*GREEDY, SparseModeling(), SparseModeling('euclidean'),
                GradientMatching(), BatchInfluence()]
STAGES = [TwoStage(TopN(), CoreSet(), keep_images=3),
          TwoStage(CoreSet('best'), TopThird(), keep_images=4)]
BY_COLUMN = [Quota(dict(a=2, b=1)), Quota(dict(a=1, b=1), CoreSet())]
BY_CLASS = [
    RoundRobin(TopN()), RoundRobin(CoreSet(), [1]),
    RoundRobin(RoundRobin(TopThird()))
]
EVERY = [*BY_SCORE, *BY_EMBEDDING, *STAGES, *BY_COLUMN, *BY_CLASS]


def names(selectors):
    return [f'{type(s).__name__}-{i}' for i, s in enumerate(selectors)]


def pool(values, seed=0):
    """Scores of all kinds, and embeddings with copies among them."""
    rng = np.random.default_rng(seed)
    scores = scores_of(values)
    scores.columns = dict(
        class_scores=rng.integers(0, 3, (len(values), 2)),
        a=rng.choice([-np.inf, 0., 1.], len(values)),
        b=rng.integers(0, 3, len(values)))
    rows = rng.integers(0, 3, (len(values) + 2, 3)).astype('f4')
    return scores, rows[2:], rows[:2]


every = pytest.mark.parametrize(
    'selector', EVERY, ids=names(EVERY))


@every
@settings(deadline=None, max_examples=15)
@given(values=st.lists(
    st.sampled_from([-np.inf, 0., .5, 1., 3.]), min_size=1, max_size=12),
       seed=st.integers(0, 9))
def test_an_order_has_each_image_once_and_begins_with_any_choice(
        selector, values, seed):
    scores, embeddings, labelled = pool(values, seed)
    order = list(selector.order(scores, embeddings, labelled))
    assert sorted(order) == sorted(scores.ids)
    for n in range(len(values) + 1):
        assert selector.select(scores, n, embeddings, labelled) == order[:n]


@every
def test_orders_of_one_selector_do_not_disturb_each_other(selector):
    scores, embeddings, labelled = pool([.5, 3., -np.inf, 1., 0., 2., .1])
    expected = list(selector.order(scores, embeddings, labelled))
    orders = [selector.order(scores, embeddings, labelled) for _ in range(2)]
    assert [list(pair) for pair in zip(*orders)] == [[i, i] for i in expected]
    for order in orders:  # and an order that has ended stays so
        assert list(order) == []


@pytest.mark.parametrize('selector', [*BY_SCORE, *BY_EMBEDDING],
                         ids=names([*BY_SCORE, *BY_EMBEDDING]))
@pytest.mark.parametrize('plain', [
    list, tuple, np.array, torch.tensor,
    lambda values: np.array(values, 'f4'),
    lambda values: torch.tensor(values, requires_grad=True)
], ids=['list', 'tuple', 'array', 'tensor', 'float32', 'requires grad'])
def test_plain_numbers_are_scores_of_positions(selector, plain):
    values = [.5, 3., -np.inf, 1., 0., 2., .25]
    _, embeddings, labelled = pool(values)
    order = list(selector.order(plain(values), embeddings, labelled))
    assert sorted(order) == list(range(7))
    assert selector.select(plain(values), 3, embeddings, labelled) == order[:3]
    assert order == list(selector.order(values, embeddings, labelled))


class Counting:
    """Candidates that count how often the best of them was looked for."""

    def __init__(self, candidates, searches):
        self.candidates = candidates
        self.searches = searches

    def __getattr__(self, name):
        return getattr(self.candidates, name)

    def best(self):
        positions = self.candidates.best()
        self.searches.append(positions)
        return positions


@pytest.mark.parametrize('selector', GREEDY, ids=names(GREEDY))
@pytest.mark.parametrize('k', [0, 1, 2, 7, 30])
def test_a_choice_is_computed_when_it_is_drawn(monkeypatch, selector, k):
    """Each choice may cost a pass over the pool."""
    scores, embeddings, labelled = pool(np.linspace(0, 1, 30))
    searches, candidates = [], type(selector).candidates
    monkeypatch.setattr(
        type(selector), 'candidates',
        lambda *args: Counting(candidates(*args), searches))
    order = selector.order(scores, embeddings, labelled)
    assert searches == []
    assert len(list(islice(order, k))) == k
    first_is_free = selector.start != 'labelled' and k > 0
    assert len(searches) == k - first_is_free
