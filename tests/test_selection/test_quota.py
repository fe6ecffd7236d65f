"""Columns that choose in turn."""
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.scores import Scores
from mmal.selection import CoreSet, Quota, RoundRobin, TopN

SHARES = st.dictionaries(st.sampled_from('abc'), st.integers(1, 4),
                         min_size=1)


def scores_with(seed, n=12, choices=(-np.inf, 0., 1., 2., 3.)):
    rng = np.random.default_rng(seed)
    return Scores(range(n), rng.choice(choices, n), rng.random(n), {
        name: rng.choice(choices, n) for name in 'abc'})


def by_hand(shares, scores):
    """One turn after another, everything looked up again."""
    turns, chosen = dict.fromkeys(shares, 0), []

    def left(values):
        return [i for i in sorted(
            scores.ids, key=lambda i: (-values[i], scores.tiebreak[i]))
            if i not in chosen and values[i] > -np.inf]

    while True:
        able = [c for c in shares if left(scores.columns[c])]
        if not able:
            break
        column = min(able, key=lambda c: Fraction(2 * turns[c] + 1,
                                                  shares[c]))
        turns[column] += 1
        chosen.append(left(scores.columns[column])[0])
    others = [i for i in TopN().order(scores) if i not in chosen]
    return chosen + others


@given(shares=SHARES, seed=st.integers(0, 99))
def test_columns_choose_in_turn(shares, seed):
    scores = scores_with(seed)
    order = list(Quota(shares).order(scores))
    assert order == by_hand(shares, scores)
    assert sorted(order) == list(range(12))
    for n in range(13):
        assert Quota(shares).select(scores, n) == order[:n]


@settings(deadline=None)
@given(shares=SHARES, cycles=st.integers(1, 3))
def test_each_has_its_share_after_a_cycle(shares, cycles):
    """Each column wants images of its own here."""
    n = 40
    columns = {name: np.zeros(3 * n) for name in 'abc'}
    for k, name in enumerate('abc'):
        columns[name][k * n:(k + 1) * n] = 1
    scores = Scores(range(3 * n), np.zeros(3 * n), columns=columns)
    chosen = Quota(shares).select(scores, cycles * sum(shares.values()))
    counts = np.bincount(np.array(chosen) // n, minlength=3)
    assert counts.tolist() == [cycles * shares.get(c, 0) for c in 'abc']


def test_any_selector_ranks_the_columns():
    scores = scores_with(0, choices=(1., 2.))
    rows = np.random.default_rng(1).standard_normal((14, 2)).astype('f4')
    quota = Quota(dict(a=1), CoreSet(weighted=True))
    assert quota.needs_embeddings and quota.needs_labelled
    expected = CoreSet(weighted=True).order(
        Scores(scores.ids, scores.columns['a'], scores.tiebreak),
        rows[2:], rows[:2])
    assert list(quota.order(scores, rows[2:], rows[:2])) == list(expected)


def test_it_can_be_wrapped():
    table = np.arange(24.).reshape(12, 2)
    scores = scores_with(0)
    scores.columns = dict(scores.columns, class_scores=table)
    turns = RoundRobin(Quota(dict(a=2, b=1)))
    assert turns.needs_columns == ('a', 'b')
    assert sorted(turns.order(scores)) == list(range(12))


@pytest.mark.parametrize('shares', [{}, None, dict(a=0), dict(a=1.5),
                                    dict(a=True), ['a']])
def test_wrong_shares_are_named(shares):
    with pytest.raises(ValueError, match='shares is'):
        Quota(shares)


def test_columns_that_do_not_fit_are_named():
    scores = Scores([7, 8], [0., 0.], columns=dict(
        a=np.zeros((2, 2)), b=[0., np.nan]))
    for name, message in dict(a='shape', b='of image 8 is NaN',
                              c='no column').items():
        with pytest.raises(ValueError, match=message):
            Quota({name: 1}).order(scores)
