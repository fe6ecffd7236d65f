import numpy as np
import pytest

from mmal.scores import Scores
from mmal.selection import CoreSet, RandomSubset, TopN


def scores(number=50):
    return Scores(range(number), np.arange(number, dtype=float))


def test_the_best_of_a_random_part_are_chosen():
    selector, found = RandomSubset(10), set()
    for round in range(40):
        selector.prepare(round)
        chosen = selector.select(scores(), 10)
        assert chosen == sorted(chosen, reverse=True)
        assert selector.select(scores(), 3) == chosen[:3]
        found |= set(chosen)
    assert found == set(range(50))


def test_it_does_not_depend_on_the_order_of_the_pool():
    order = np.random.default_rng(0).permutation(50)
    shuffled = Scores(order.tolist(), order.astype(float))
    assert RandomSubset(10).select(shuffled, 5) == \
        RandomSubset(10).select(scores(), 5)


def test_more_than_its_size_may_be_asked_for():
    assert len(set(RandomSubset(10).select(scores(), 30))) == 30
    assert RandomSubset(50).select(scores(), 4) == TopN().select(scores(), 4)
    assert RandomSubset(3).select(scores(0), 0) == []


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match='size is 0'):
        RandomSubset(0)
    with pytest.raises(ValueError, match='CoreSet, which needs more'):
        RandomSubset(5, CoreSet())
