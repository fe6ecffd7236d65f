"""Processes, here threads, that take shares of one pool."""
import threading
from itertools import islice

import numpy as np
import pytest
from brute import scores_of
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.dist import SingleProcess
from mmal.selection import (
    BottomN,
    CoreSet,
    KMeansPlusPlus,
    SharedSelection,
    greedy_d2_sampling,
)


class Threads:

    def __init__(self, rank, shared, barrier):
        self.rank, self.size = rank, len(shared)
        self.shared, self.barrier = shared, barrier
        self.gathered = 0

    def gather_objects(self, thing):
        self.shared[self.rank] = thing
        self.barrier.wait(20)
        out = list(self.shared)
        self.barrier.wait(20)
        return out

    def gather(self, numbers):
        self.gathered += 1
        return np.stack(self.gather_objects(np.asarray(numbers, float)))


def in_processes(size, selector, scores, embeddings, labelled, work):
    """What ``work(order)`` returns in process 0; the others must end."""
    shared, barrier, result = [None] * size, threading.Barrier(size), []

    def process(rank):
        selection = SharedSelection(selector, scores, embeddings, labelled,
                                    Threads(rank, shared, barrier))
        if rank:
            return selection.run_worker()
        try:
            result.append(selection.run_leader(work))
        except ValueError as e:
            result.append(e)

    threads = [threading.Thread(target=process, args=(r, ))
               for r in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return result[0]


def pool(n, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n + 3, 4)).astype('f4')
    return scores_of(rng.uniform(0, 1, n)), rows[3:], rows[:3]


@pytest.mark.parametrize('selector', [
    CoreSet(), CoreSet('best', weighted=True), KMeansPlusPlus(),
    KMeansPlusPlus(trials=3)])
@pytest.mark.parametrize('size, n', [(2, 50), (3, 50), (4, 3)])
def test_the_order_is_that_of_one_process(selector, size, n):
    scores, embeddings, labelled = pool(n)
    expected = list(selector.order(scores, embeddings, labelled))
    assert sorted(expected) == sorted(scores.ids)
    for count in (0, 1, 2, n // 2, n):
        got = in_processes(size, selector, scores, embeddings, labelled,
                           lambda order, n=count: list(islice(order, n)))
        assert got == expected[:count]


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 4),
       n=st.integers(1, 40), trials=st.integers(1, 9),
       values=st.sampled_from([(0., 1., 2.), (1., ), (-np.inf, 0., 1.)]),
       epsilon=st.sampled_from([2.**-24, 1e-2]))
def test_trials_of_any_number_of_processes(seed, size, n, trials, values,
                                           epsilon):
    """Copies, equal distances and scores of 0 or -inf among them."""
    rng = np.random.default_rng(seed)
    embeddings = rng.integers(0, 3, (n, 2)).astype('f4')
    scores = scores_of(rng.choice(values, n))
    selector = KMeansPlusPlus(seed=seed, trials=trials)
    with pytest.MonkeyPatch.context() as patch:
        # products so rough that exact distances settle more
        patch.setattr(greedy_d2_sampling, '_EPSILON', epsilon)
        got = in_processes(size, selector, scores, embeddings, None, list)
    assert got == list(selector.order(scores, embeddings))


def test_only_what_is_drawn_is_computed():
    """A choice is one exchange of numbers."""
    scores, embeddings, labelled = pool(50)
    processes = Threads(0, [None], threading.Barrier(1))
    selection = SharedSelection(CoreSet(), scores, embeddings, labelled,
                                processes)

    def draw(order):
        before = processes.gathered
        return len(list(islice(order, 7))), processes.gathered - before

    assert selection.run_leader(draw) == (7, 7)


def test_an_error_of_the_work_frees_the_others():
    def work(order):
        next(order)
        raise ValueError('the oracle is gone')

    error = in_processes(3, CoreSet(), *pool(50), work)
    assert str(error) == 'the oracle is gone'


def test_errors_reach_process_0_and_free_the_others():
    scores, embeddings, labelled = pool(50)
    embeddings[49, 0] = np.nan  # of the second process
    error = in_processes(2, CoreSet(), scores, embeddings, labelled, next)
    with pytest.raises(ValueError, match='embedding of image image 49 .* NaN'):
        raise error


def test_alone():
    scores, embeddings, labelled = pool(20)
    selection = SharedSelection(CoreSet(), scores, embeddings, labelled,
                                SingleProcess())
    assert selection.run_leader(list) == CoreSet().select(
        scores, 20, embeddings, labelled)


def test_who_can():
    assert CoreSet().can_share and KMeansPlusPlus().can_share
    assert not BottomN().can_share
