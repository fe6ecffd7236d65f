"""Splits and relative changes of an A/B test."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.evaluation import ab_split, relative_change, spread

names = st.sets(st.integers(0, 60), min_size=2, max_size=40)


@settings(max_examples=100, deadline=None)
@given(a=names, b=names, fraction=st.floats(.01, .99), seed=st.integers(0, 3),
       number=st.integers(0, 3))
def test_no_image_is_trained_and_tested_on(a, b, fraction, seed, number):
    split = ab_split(a, b, fraction, seed, number)
    for chosen, train, test in zip((a, b), split.train, split.test):
        assert len(test) == min(
            max(1, round(fraction * len(chosen))), len(chosen) - 1)
        assert set(test) <= chosen and len(set(test)) == len(test)
        lost = chosen - set(test) - set(train)
        tested = set().union(*split.test)
        assert lost <= a & b and not set(train) & tested


def test_selections_without_common_images_keep_all():
    a, b = range(50), range(50, 100)
    split = ab_split(a, b)
    assert [len(x) for x in (*split.train, *split.test)] == [45, 45, 5, 5]
    assert not set(split.test[0]) & set(split.test[1])


def test_splits_depend_on_seed_and_number_but_not_on_order():
    a, b = [f'{i}.png' for i in range(60)], [f'b{i}.png' for i in range(60)]
    first = ab_split(a, b, .5)
    assert ab_split(a[::-1], b, .5) == first
    assert ab_split(a, b[:40], .5).test[0] == first.test[0]
    others = [ab_split(a, b, .5, 0, 1), ab_split(a, b, .5, 1, 0)]
    tests = [sorted(s.test[0]) for s in (first, *others)]
    assert tests[0] != tests[1] != tests[2] != tests[0]


def test_every_image_is_tested_on_equally_often():
    counts = np.zeros(20)
    for number in range(400):
        counts[ab_split(range(20), [20, 21], .25, 0, number).test[0]] += 1
    # binomial with p = 1/4: 100 on average, standard deviation 8.7
    assert counts.sum() == 2000 and np.abs(counts - 100).max() < 35


@pytest.mark.parametrize('fraction', [0, 1, -1, 2, float('nan')])
def test_fraction_must_be_one(fraction):
    with pytest.raises(ValueError, match='fraction is'):
        ab_split(range(5), range(5), fraction)


def test_two_images_are_needed():
    with pytest.raises(ValueError, match=r'has 1 image\(s\)'):
        ab_split(range(5), [1])


def test_relative_change():
    assert relative_change(.3, .2) == pytest.approx(50)
    assert relative_change(.1, .2) == pytest.approx(-50)
    assert relative_change(0., .2) == -100
    for new, reference in ((None, .2), (.2, None), (.2, 0.), (.2, -1.),
                           (.2, float('nan'))):
        assert relative_change(new, reference) is None


def test_spread():
    found = spread([1., None, 2., 6.])
    assert (found.mean, found.count) == (3., 3)
    assert found.std == pytest.approx(np.sqrt((4 + 1 + 9) / 2))
    assert spread([4.]).std is None and spread([4.]).mean == 4
    assert (spread([None]).mean, spread([]).count) == (None, 0)
