import numpy as np
import pytest
from brute import scores_of
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.selection import BottomN, TopBottom, TopN

VALUES = st.lists(st.sampled_from([-np.inf, -1., 0., 2., 1e300]), max_size=12)


@settings(deadline=None, max_examples=50)
@given(VALUES)
def test_half_are_the_highest_and_half_the_lowest_known(values):
    scores = scores_of(values)
    known = int(np.isfinite(scores.values).sum())
    for n in range(len(values) + 1):
        got = TopBottom().select(scores, n)
        part = min(n, known)
        # equal scores: the bottom half is what TopN ranks last
        top = TopN().select(scores, known)
        low = top[known - part // 2:]
        assert set(got[:part]) == set(top[:part - part // 2] + low)
        assert set(got) == set(got[:part] + BottomN().select(
            scores, len(values))[known:n])
        assert len(got) == len(set(got)) == n


def test_in_turn_and_one_more_from_the_top():
    scores = scores_of([5., 1., -np.inf, 3., 4., 2.])
    got = TopBottom().select(scores, 6)
    assert got == [scores.ids[i] for i in (0, 1, 4, 5, 3, 2)]
    for n in range(6):
        assert TopBottom().select(scores, n) == got[:n]


@pytest.mark.parametrize('n', [-1, 3])
def test_refuses_counts_out_of_range(n):
    with pytest.raises(ValueError, match=f'cannot select {n} of 2'):
        TopBottom().select(scores_of([1., 2.]), n)
