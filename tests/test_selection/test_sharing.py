"""Processes, here threads, that take shares of one pool."""
import threading

import numpy as np
import pytest
from brute import scores_of

from mmal.dist import SingleProcess
from mmal.selection import BottomN, CoreSet, KMeansPlusPlus, SharedSelection


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


def with_helpers(size, selector, scores, embeddings, labelled, work):
    """What ``work(select)`` returns in process 0; the others must end."""
    shared, barrier, result = [None] * size, threading.Barrier(size), []

    def process(rank):
        part = SharedSelection(selector, scores, embeddings, labelled,
                               Threads(rank, shared, barrier))
        if rank:
            return part.help()
        try:
            result.append(part.lead(lambda: work(part.select)))
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
    CoreSet(), CoreSet('best', weighted=True), KMeansPlusPlus()])
@pytest.mark.parametrize('size, n', [(2, 50), (3, 50), (4, 3)])
def test_growing_choices_are_those_of_one_process(selector, size, n):
    scores, embeddings, labelled = pool(n)
    asked = (1, 2, n // 2, n, 0)
    got = with_helpers(size, selector, scores, embeddings, labelled,
                       lambda select: [select(k) for k in asked])
    assert got == [selector.select(scores, k, embeddings, labelled)
                   for k in asked]


@pytest.mark.parametrize('ask, message', [
    (lambda select: select(51), 'cannot select 51 of 50'),
    (lambda select: select(2), 'embedding of image image 49 .* NaN'),
])
def test_errors_reach_process_0_and_free_the_others(ask, message):
    scores, embeddings, labelled = pool(50)
    embeddings[49, 0] = np.nan  # of the second process
    error = with_helpers(2, CoreSet(), scores, embeddings, labelled, ask)
    with pytest.raises(ValueError, match=message):
        raise error


def test_alone():
    scores, embeddings, labelled = pool(20)
    part = SharedSelection(CoreSet(), scores, embeddings, labelled, SingleProcess())
    assert part.lead(lambda: part.select(9)) == CoreSet().select(
        scores, 9, embeddings, labelled)


def test_who_can():
    assert CoreSet().can_share and KMeansPlusPlus().can_share
    assert not BottomN().can_share
