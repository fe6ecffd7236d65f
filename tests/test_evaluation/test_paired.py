"""Differences over pairs, against scipy's paired t-test and by hand."""
import math

import numpy as np
import pytest
from scipy.stats import ttest_rel

from mmal.evaluation import PairedDifference, paired_difference


@pytest.mark.parametrize('count', [2, 3, 5, 12])
@pytest.mark.parametrize('level', [0.8, 0.95])
def test_it_is_scipys_paired_t_test(count, level):
    rng = np.random.default_rng(count)
    first, second = rng.normal(0.5, 0.1, (2, count))
    found = paired_difference(first, second, level)
    truth = ttest_rel(first, second)
    interval = truth.confidence_interval(level)
    assert found.count == count
    assert found.mean == pytest.approx(np.mean(first - second))
    assert found.std == pytest.approx(np.std(first - second, ddof=1))
    assert found.p == pytest.approx(truth.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(interval))


def test_three_pairs_by_hand():
    # differences 1, 2, 3; t(2 degrees, 97.5%) = 4.302653
    found = paired_difference([2, 4, 6], [1, 2, 3])
    assert (found.mean, found.std) == (2, 1)
    assert found.high - found.mean == pytest.approx(4.302653 / math.sqrt(3))
    # with 2 degrees P(|T| > t) is 1 - t / sqrt(2 + t^2), here t = 2 sqrt(3)
    assert found.p == pytest.approx(1 - math.sqrt(12 / 14))


def test_what_seeds_do_to_both_cancels():
    seeds = np.array([0.1, 0.5, 0.9])
    found = paired_difference(seeds + [0.01, 0.02, 0.03], seeds)
    assert found.std == pytest.approx(0.01) and found.low < 0.02 < found.high


def test_one_pair_has_no_interval():
    assert paired_difference([0.5], [0.25]) == PairedDifference(
        0.25, None, None, None, None, 1)


def test_equal_differences():
    assert paired_difference([1, 2], [1, 2]) == PairedDifference(
        0, 0, 0, 0, None, 2)
    assert paired_difference([2, 3], [1, 2]) == PairedDifference(
        1, 0, 1, 1, 0, 2)


@pytest.mark.parametrize('first, second', [([], []), ([1, 2], [1])])
def test_values_without_a_pair_are_refused(first, second):
    with pytest.raises(ValueError, match='at least one: got'):
        paired_difference(first, second)
