import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.scores import Scores
from mmal.selection import TopN


def scores_of(values, tiebreak=None):
    n = len(values)
    if tiebreak is None:
        tiebreak = np.arange(n) / max(n, 1)
    return Scores(
        ids=[f'image {i}' for i in range(n)],
        values=np.array(values, dtype=float),
        tiebreak=np.array(tiebreak, dtype=float))


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.sampled_from([-np.inf, -1., 0., 2., 1e300]), max_size=12),
    st.randoms())
def test_equals_sorting_by_hand_in_any_order_of_the_pool(values, rng):
    scores = scores_of(values)
    rows = list(zip(scores.values, scores.tiebreak, scores.ids))
    expected = [i for _, _, i in sorted(rows, key=lambda r: (-r[0], r[1]))]
    rng.shuffle(rows)
    shuffled = Scores(
        ids=[r[2] for r in rows],
        values=np.array([r[0] for r in rows]),
        tiebreak=np.array([r[1] for r in rows]))
    for n in range(len(values) + 1):
        assert TopN().select(shuffled, n) == expected[:n]


def test_ties_are_settled_by_the_tiebreak():
    scores = scores_of([1., 1., 1.], [0.5, 0.1, 0.9])
    assert TopN().select(scores, 2) == ['image 1', 'image 0']


@pytest.mark.parametrize('n', [-1, 3])
def test_refuses_counts_out_of_range(n):
    with pytest.raises(ValueError, match=f'cannot select {n} of 2'):
        TopN().select(scores_of([1., 2.]), n)
