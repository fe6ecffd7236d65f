import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmal.evaluation import highest, overlap_matrix

VALUES = st.lists(
    st.sampled_from([-np.inf, -1.5, 0.0, 2.0, 7.0]), min_size=1, max_size=9)


@given(VALUES, st.data())
def test_highest_is_a_sort(values, data):
    n = data.draw(st.integers(0, len(values)))
    ties = data.draw(st.permutations(range(len(values))))
    order = sorted(range(len(values)), key=lambda i: (-values[i], ties[i]))
    assert highest(values, n, ties).tolist() == order[:n]


@given(st.integers(1, 8), st.integers(1, 4), st.randoms())
def test_overlap_is_set_arithmetic(n, selections, random):
    chosen = [random.sample(range(12), n) for _ in range(selections)]
    found = overlap_matrix(chosen)
    for i, a in enumerate(chosen):
        for j, b in enumerate(chosen):
            share = sum(x in b for x in a) / n
            assert found[i, j] == pytest.approx(100 * share)
    assert (np.diag(found) == 100).all()


@pytest.mark.parametrize('values, n, message', [
    ([1.0, np.nan], 1, '1 values are NaN'),
    ([1.0, 2.0], 3, 'cannot choose 3 of 2'),
    ([1.0, 2.0], -1, 'cannot choose -1 of 2'),
])
def test_highest_refuses(values, n, message):
    with pytest.raises(ValueError, match=message):
        highest(values, n)


def test_as_many_tiebreaks_as_values():
    with pytest.raises(ValueError, match='3 values, but 2 tiebreaks'):
        highest([1.0, 2.0, 3.0], 2, [0, 1])


@pytest.mark.parametrize('chosen', [[[1, 2], [1]], [[1, 1], [1, 2]], [[], []],
                                    []])
def test_overlap_refuses_unequal_selections(chosen):
    with pytest.raises(ValueError, match='as many different images each'):
        overlap_matrix(chosen)
