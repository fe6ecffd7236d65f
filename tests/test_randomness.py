import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.randomness import SeededStreams, seeded_order, seeded_uniform

IDS = st.lists(
    st.one_of(st.integers(-2**70, 2**70), st.text(max_size=5)), unique_by=repr)


def test_values_are_fixed_for_ever():
    """Committed numbers: a change would change every user's rounds."""
    got = seeded_uniform([0, 1, 7, 'a/b.jpg'], 0, 'initial')
    assert got.tolist() == [
        0.45532161197340393, 0.5335115901404223, 0.9400697677690217,
        0.7934978100919349
    ]


def test_uniform():
    values = seeded_uniform(range(20000), 3)
    assert values.dtype == np.float64
    assert values.min() >= 0 and values.max() < 1
    counts = np.histogram(values, bins=20, range=(0, 1))[0]
    assert abs(counts - 1000).max() < 150  # five standard deviations
    assert len(set(values)) == 20000


def test_keys_and_types_are_told_apart():
    keys = [(), (0, ), (1, ), ('0', ), (0, 1), (1, 0), ('01', ), (0, '1'),
            ('a', 'b'), ('ab', ), ('', 'ab')]
    values = [seeded_uniform([5], *k)[0] for k in keys]
    assert len(set(values)) == len(keys)
    assert seeded_uniform([7], 0)[0] != seeded_uniform(['7'], 0)[0]
    assert seeded_uniform(np.array([7]), 0) == seeded_uniform([7], np.int8(0))


def test_rounds_are_uncorrelated():
    a, b = (seeded_uniform(range(5000), 0, r) for r in (1, 2))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.07


@settings(deadline=None, max_examples=40)
@given(IDS, st.integers())
def test_order_of_the_ids_does_not_matter(ids, seed):
    backward = seeded_uniform(ids[::-1], seed)[::-1]
    assert (seeded_uniform(ids, seed) == backward).all()
    order = seeded_order(ids, seed)
    assert order == seeded_order(ids[::-1], seed)
    assert sorted(map(repr, order)) == sorted(map(repr, ids))


def test_empty():
    assert seeded_uniform([], 0).shape == (0, )
    assert seeded_order([], 0) == []


@pytest.mark.parametrize('bad', [1.5, None, b'x'])
def test_other_types_are_refused(bad):
    with pytest.raises(TypeError):
        seeded_uniform([bad], 0)
    with pytest.raises(TypeError):
        seeded_uniform([0], bad)


def test_a_large_pool_is_fast():
    start = time.perf_counter()
    seeded_uniform(range(118287), 0, 3, 'tiebreak')
    assert time.perf_counter() - start < 2


def test_streams_are_exponential_and_independent():
    streams = SeededStreams(range(300), 1, 'draws')
    x = np.stack([streams.exponential(k) for k in range(200)])
    assert x.min() > 0 and np.isfinite(x).all()
    counts = np.histogram(np.exp(-x), bins=20, range=(0, 1))[0]
    assert abs(counts - 3000).max() < 270  # five standard deviations
    for a, b in ((x[1:], x[:-1]), (x[:, 1:], x[:, :-1])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.021


def test_streams_belong_to_ids():
    ids = [3, 'cat', 2**70]
    streams = SeededStreams(ids, 0)
    for k in (0, 1, 10**6):
        expected = [float(SeededStreams([i], 0).exponential(k)[0])
                    for i in ids]
        assert streams.exponential(k).tolist() == expected
    assert SeededStreams([], 0).exponential(0).shape == (0, )
    assert (SeededStreams(ids, 1).exponential(0) !=
            streams.exponential(0)).all()


def test_streams_are_fixed_for_ever():
    """Committed numbers: a change would change every user's rounds."""
    got = SeededStreams([7, 'a'], 0, 'draws').exponential(3)
    assert got == pytest.approx(
        [0.28789606825983066, 0.24577521414581888], rel=1e-14)
