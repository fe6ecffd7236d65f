"""A query by two processes of which only one knows how many boxes."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch.multiprocessing as mp

from mmal.engine.query import Query
from mmal.engine.settings import Settings
from mmal.scores import Scores
from mmal.selection import SharedSelection

N = 61
SELECTORS = dict(
    core_set=dict(type='mmal.CoreSet'),
    weighted=dict(type='mmal.CoreSet', start='best', weighted=True),
    k_means=dict(type='mmal.KMeansPlusPlus'))


def boxes(ids):
    return np.array([i % 3 for i in ids])


def selections(knows, refuse=False):
    """One of each selector, by a budget in boxes."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((N, 4)).astype('f4')
    values = rng.uniform(0, 1, N)
    scores = Scores(list(range(N)), -values if refuse else values,
                    rng.permutation(N) / N, embeddings=rows)
    oracle = SimpleNamespace(knows_counts=True, count_boxes=boxes)
    out = []
    for selector in SELECTORS.values():
        settings = Settings(data=dict(ann_file='pool.json'),
                            budget=dict(size=17, unit='boxes'),
                            selector=selector)
        query = Query(settings, None, '', oracle if knows else None)
        try:
            chosen = query._select(scores, rows[:2] + 9, frozenset())
            out.append((chosen.ids, chosen.boxes))
        except ValueError as e:
            out.append(str(e))
    return out


def process(rank, address, queue):
    import torch.distributed as dist
    dist.init_process_group(
        'gloo', init_method=f'file://{address}', rank=rank, world_size=2)
    asked, select = [], SharedSelection._choose

    def watched(self, n):
        asked.append((len(self._scores.ids), n))
        return select(self, n)

    SharedSelection._choose = watched
    found = selections(rank == 0)
    queue.put((found, selections(rank == 0, refuse=True), asked))
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    queue = mp.get_context('spawn').SimpleQueue()
    store = str(tmp_path_factory.mktemp('two') / 'store')
    mp.spawn(process, (store, queue), nprocs=2)
    return queue.get(), queue.get()


def test_two_processes_choose_what_one_chooses(two):
    expected = selections(True)
    assert two[0][0] == two[1][0] == expected
    assert all(8 <= len(ids) < N and 15 <= number <= 17
               for ids, number in expected)


def test_an_error_is_one_of_both(two):
    expected = selections(True, refuse=True)
    assert [isinstance(e, str) for e in expected] == [False, True, True]
    for found, alone in zip(zip(two[0][1], two[1][1]), expected):
        assert found[0] == found[1]
        if isinstance(alone, tuple):
            assert found[0] == alone
        else:
            assert 'finite and >= 0' in found[0]


def test_each_looks_at_half_of_the_images(two):
    shares = sorted({n for *_, asked in two for n, _ in asked})
    assert shares == [30, 31]
    assert [n for _, n in two[0][2]] == [n for _, n in two[1][2]]
