import numpy as np
import pytest
from brute import scores_of
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.selection import TopN, TopThird

VALUES = st.lists(st.sampled_from([-np.inf, -1., 0., 2., 1e300]), max_size=14)


@settings(deadline=None, max_examples=60)
@given(VALUES, st.integers(0, 3), st.randoms())
def test_from_the_third_then_the_rest_in_any_order_of_the_pool(
        values, seed, rng):
    scores = scores_of(values)
    order = TopN().select(scores, len(values))
    third = -(-len(values) // 3)
    everything = TopThird(seed).select(scores, len(values))
    assert sorted(everything[:third]) == sorted(order[:third])
    assert everything[third:] == order[third:]
    number = dict(zip(scores.ids, scores.values))
    unknown = [number[i] == -np.inf for i in everything]
    assert unknown == sorted(unknown)
    index = list(range(len(values)))
    rng.shuffle(index)
    shuffled = scores_of(scores.values[index], scores.tiebreak[index])
    shuffled.ids = [scores.ids[i] for i in index]
    for n in range(len(values) + 1):
        assert TopThird(seed).select(shuffled, n) == everything[:n]


def test_each_image_of_the_third_is_as_likely_as_another():
    scores = scores_of(np.arange(30.))
    counts = dict.fromkeys(scores.ids, 0)
    for seed in range(1000):
        for image in TopThird(seed).select(scores, 3):
            counts[image] += 1
    counts = np.array(list(counts.values()))
    assert counts[:20].max() == 0
    assert abs(counts[20:] - 300).max() < 75  # five standard deviations


def test_images_new_in_the_third_are_as_likely_as_those_left_over():
    new = 0
    for seed in range(300):
        selector = TopThird(seed)
        scores = scores_of(np.arange(90.))
        first = set(selector.select(scores, 15))
        left = [i for i in range(90) if scores.ids[i] not in first]
        scores.ids = [scores.ids[i] for i in left]
        scores.values, scores.tiebreak = (
            x[left] for x in (scores.values, scores.tiebreak))
        selector.prepare(1)
        # the third has 25 images now, 10 of which were outside before
        for image in selector.select(scores, 5):
            new += scores.values[scores.ids.index(image)] < 60
    assert abs(new - 600) < 5 * (1500 * .4 * .6)**.5


@pytest.mark.parametrize('n', [-1, 3])
def test_refuses_counts_out_of_range(n):
    with pytest.raises(ValueError, match=f'cannot select {n} of 2'):
        TopThird().select(scores_of([1., 2.]), n)
