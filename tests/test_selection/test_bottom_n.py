import numpy as np
import pytest
from brute import scores_of
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.selection import BottomN

VALUES = st.lists(
    st.sampled_from([-np.inf, -1., 0., 2., 1e300, np.inf]), max_size=12)


@settings(deadline=None, max_examples=50)
@given(VALUES)
def test_equals_sorting_by_hand(values):
    scores = scores_of(values)
    rows = zip(scores.values, scores.tiebreak, scores.ids)
    expected = [
        i for v, t, i in sorted(
            rows, key=lambda r: (r[0] == -np.inf, r[0], r[1]))
    ]
    for n in range(len(values) + 1):
        assert BottomN().select(scores, n) == expected[:n]


@pytest.mark.parametrize('n', [-1, 3])
def test_refuses_counts_out_of_range(n):
    with pytest.raises(ValueError, match=f'cannot select {n} of 2'):
        BottomN().select(scores_of([1., 2.]), n)
