import threading
from itertools import islice

import numpy as np
import pytest
import torch.multiprocessing as mp
from brute import cosine, k_center, scores_of, squared
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.dist import ProcessGroup, close_dist
from mmal.randomness import seeded_uniform
from mmal.selection import CoreSet, lazy_greedy
from mmal.selection.distances import Quantizer


def pool(n=300, dim=6, labelled=4, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.gamma(1, 1, (n + labelled, dim)) + 100  # far from the origin
    return rows[labelled:].astype('f4'), rows[:labelled].astype('f4')


@pytest.fixture(params=[1, 7, 10**6], ids=['frontier of 1', 'of 7', 'of all'])
def frontier(request, monkeypatch):
    """How many candidates are kept in memory must not matter."""
    monkeypatch.setattr(lazy_greedy, 'frontier_rows',
                        lambda dim: request.param)


@pytest.mark.parametrize('name, distance', [('euclidean', squared),
                                            ('cosine', cosine)])
@pytest.mark.parametrize('weighted', [False, True])
def test_equals_measuring_every_distance(frontier, name, distance, weighted):
    embeddings, labelled = pool()
    values = np.random.default_rng(1).uniform(0, 2, 300)
    scores = scores_of(values)
    selector = CoreSet(weighted=weighted, distance=name)
    expected = k_center(scores, 60, embeddings, labelled,
                        values if weighted else None, distance)
    assert selector.select(scores, 60, embeddings, labelled) == expected


def test_more_labelled_images_than_are_measured_at_first(frontier):
    embeddings, labelled = pool(labelled=200)
    scores = scores_of(np.zeros(300))
    expected = k_center(scores, 20, embeddings, labelled)
    assert CoreSet().select(scores, 20, embeddings, labelled) == expected


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_small_grids_full_of_ties_and_duplicates(data):
    n = data.draw(st.integers(1, 12))
    number = st.integers(0, 3)
    row = st.lists(number, min_size=2, max_size=2)
    x = np.array(data.draw(st.lists(row, min_size=n, max_size=n)), 'f4')
    labelled = np.array(
        data.draw(st.lists(row, min_size=1, max_size=4)), 'f4')
    ties = data.draw(st.permutations(range(n)))
    weights = np.array(
        data.draw(st.lists(number, min_size=n, max_size=n)), float)
    scores = scores_of(weights, np.array(ties) / n)
    count = data.draw(st.integers(0, n))
    kept = data.draw(st.integers(1, n + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lazy_greedy, 'frontier_rows', lambda dim: kept)
        for weighted in (False, True):
            got = CoreSet(weighted=weighted).select(scores, count, x, labelled)
            assert got == k_center(scores, count, x, labelled,
                                   weights if weighted else None)


@settings(deadline=None, max_examples=30)
@given(st.randoms(), st.sampled_from(['random', 'best', 'labelled']))
def test_order_of_the_pool_does_not_matter(rng, start):
    embeddings, labelled = pool(n=40)
    scores = scores_of(np.round(np.random.default_rng(2).uniform(0, 2, 40)))
    order = list(range(40))
    rng.shuffle(order)
    shuffled = scores_of(scores.values[order], scores.tiebreak[order])
    shuffled.ids = [scores.ids[i] for i in order]
    selector = CoreSet(start=start, weighted=True)
    assert selector.select(scores, 15, embeddings, labelled) == \
        selector.select(shuffled, 15, embeddings[order], labelled)


def test_all_and_none_of_the_pool():
    embeddings, labelled = pool(n=20)
    scores = scores_of(np.zeros(20))
    assert CoreSet().select(scores, 0) == []
    assert CoreSet(start='random').select(scores_of([]), 0) == []
    everything = CoreSet().select(scores, 20, embeddings, labelled)
    assert sorted(everything) == sorted(scores.ids)
    assert everything[:7] == CoreSet().select(scores, 7, embeddings, labelled)


def test_one_image_far_larger_than_the_others_and_one_tiny_pool():
    embeddings, labelled = pool(n=20)
    for scale in (1e-30, 1e30):
        scores = scores_of(np.zeros(20))
        assert CoreSet().select(
            scores, 9, embeddings * np.float32(scale),
            labelled * np.float32(scale)) == k_center(
                scores, 9, (embeddings * np.float32(scale)) / scale,
                (labelled * np.float32(scale)) / scale)


def with_outliers(rng, n, dim, number, exponent):
    """Rows of which ``number`` are 10**exponent times as long."""
    rows = rng.standard_normal((n, dim)).astype('f4')
    rows[rng.choice(n, number, replace=False)] *= np.float32(10.**exponent)
    return rows


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    exponent=st.floats(3, 8),
    number=st.integers(1, 30),
    dim=st.sampled_from([1, 3, 16, 200]),
    weighted=st.booleans())
def test_outliers_do_not_blur_the_others(seed, exponent, number, dim,
                                         weighted):
    rng = np.random.default_rng(seed)
    embeddings = with_outliers(rng, 150, dim, number, exponent)
    labelled = with_outliers(rng, 3, dim, 1, exponent)
    values = rng.uniform(0, 2, 150)
    scores = scores_of(values)
    got = CoreSet(weighted=weighted).select(scores, 60, embeddings, labelled)
    want = k_center(scores, 60, embeddings, labelled,
                    values if weighted else None)
    if got == want:
        return
    # beside outliers the grid may take two images that lie equally far, to
    # within a millionth of their distance or of the spread of the others, in
    # the other order
    first = next(n for n, pair in enumerate(zip(got, want)) if
                 pair[0] != pair[1])
    rows = {i: n for n, i in enumerate(scores.ids)}
    centres = np.concatenate(
        [labelled, embeddings[[rows[i] for i in want[:first]]]]).astype('f8')
    values = values if weighted else np.ones(150)
    far = [values[rows[i]] * (
        (embeddings[rows[i]] - centres) ** 2).sum(1).min()
        for i in (got[first], want[first])]
    assert np.sqrt(far[0]) == pytest.approx(np.sqrt(far[1]), rel=1e-6,
                                            abs=2e-6)


def test_outliers_too_far_for_any_grid_are_named():
    rng = np.random.default_rng(0)
    embeddings = with_outliers(rng, 50, 6, 0, 0)
    embeddings[17] *= np.float32(1e20)
    with pytest.raises(
            ValueError,
            match=r'image 17 is \d\.\de\+20 from .* within \d.*cosine'):
        CoreSet('random').select(scores_of(np.zeros(50)), 9, embeddings)
    assert len(CoreSet('random', distance='cosine').select(
        scores_of(np.zeros(50)), 9, embeddings)) == 9


def test_best_starts_from_the_highest_score():
    embeddings, _ = pool()
    values = np.random.default_rng(3).uniform(0, 1, 300)
    scores = scores_of(values)
    first = int(values.argmax())
    got = CoreSet(start='best').select(scores, 10, embeddings)
    assert got[0] == scores.ids[first]
    rest = k_center(scores, 10, embeddings, embeddings[[first]])
    assert got[1:] == [i for i in rest if i != got[0]][:9]


def test_random_starts_from_a_seeded_image_and_ignores_labelled_ones():
    embeddings, labelled = pool()
    scores = scores_of(np.zeros(300))
    got = CoreSet(start='random', seed=5).select(scores, 10, embeddings)
    drawn = seeded_uniform(scores.ids, 5, 0, 'core-set')
    assert got[0] == scores.ids[int(drawn.argmax())]
    assert got == CoreSet(
        start='random', seed=5).select(scores, 10, embeddings, labelled)
    firsts = {
        CoreSet(start='random', seed=s).select(scores, 1, embeddings)[0]
        for s in range(8)
    }
    assert len(firsts) > 4


@pytest.mark.parametrize('start', ['labelled', 'random', 'best'])
@pytest.mark.parametrize('weighted', [False, True])
def test_minus_infinity_comes_last(start, weighted):
    embeddings, labelled = pool(n=30)
    values = np.ones(30)
    values[::3] = -np.inf
    scores = scores_of(values)
    got = CoreSet(
        start=start, weighted=weighted).select(scores, 30, embeddings,
                                               labelled)
    assert len(set(got)) == 30
    assert set(got[20:]) == {scores.ids[i] for i in range(0, 30, 3)}
    none = scores_of(np.full(30, -np.inf))
    assert len(set(CoreSet(start=start, weighted=weighted).select(
        none, 30, embeddings, labelled))) == 30


@pytest.mark.parametrize('dtype', ['float16', 'float32'])
def test_memory_mapped_files(tmp_path, dtype):
    embeddings, labelled = (e.astype(dtype) for e in pool())
    scores = scores_of(np.zeros(300))
    maps = []
    for name, array in (('e', embeddings), ('l', labelled)):
        np.save(tmp_path / f'{name}.npy', array)
        maps.append(np.load(tmp_path / f'{name}.npy', mmap_mode='r'))
    assert CoreSet().select(scores, 40, *maps) == k_center(
        scores, 40, embeddings, labelled)


def test_a_vector_of_zeros_has_a_cosine_distance():
    embeddings = np.array([[0, 0], [0, 0], [1, 0], [-3, 0], [2, 0]], 'f4')
    scores = scores_of(np.zeros(5), np.arange(5) / 5)
    got = CoreSet(distance='cosine').select(scores, 5, embeddings,
                                            embeddings[2:3])
    # -3 is 2 from 1; the zeros are 1/2 from both
    assert got == [scores.ids[i] for i in (3, 0, 1, 2, 4)]


class Threads:
    """Processes, for a test, that are threads."""

    def __init__(self, rank, shared, barrier):
        self.rank, self.shared, self.barrier = rank, shared, barrier

    def gather_objects(self, thing):
        self.shared[self.rank] = thing
        self.barrier.wait(20)
        out = list(self.shared)
        self.barrier.wait(20)
        return out

    def gather(self, numbers):
        return np.stack(self.gather_objects(np.asarray(numbers, float)))


def order_in_threads(selector, scores, embeddings, labelled, shards):
    """What each of some threads chooses, of which each has a shard."""
    number = len(shards)
    shared, barrier = [None] * number, threading.Barrier(number)
    chosen = [None] * number

    def work(rank):
        index = shards[rank]
        chosen[rank] = list(selector.order_sharded(
            scores.take(index), embeddings[index], labelled,
            Threads(rank, shared, barrier)))

    threads = [threading.Thread(target=work, args=(r, ), name=str(r))
               for r in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return chosen


@pytest.mark.parametrize('start', ['labelled', 'random', 'best'])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('outlier', [1, 1e6])
def test_shards_choose_what_one_process_chooses(start, weighted, outlier):
    embeddings, labelled = pool(n=100)
    embeddings[7] *= np.float32(outlier)
    values = np.random.default_rng(4).uniform(0, 1, 100)
    values[[3, 50, 99]] = -np.inf
    scores = scores_of(values)
    selector = CoreSet(start=start, weighted=weighted)
    expected = selector.select(scores, 100, embeddings, labelled)
    # the third has nothing, the second runs out early
    shards = np.arange(0, 90), np.arange(90, 100), np.arange(0)
    assert order_in_threads(selector, scores, embeddings, labelled,
                            shards) == [expected] * 3


@pytest.mark.parametrize('broken, message', [
    (np.nan, 'NaN or infinite'), ('shape', r'embeddings of shape \[10, D\]')])
def test_an_error_of_one_shard_is_one_of_all(broken, message):
    embeddings, labelled = pool(n=20)
    shared, barrier, errors = [None] * 2, threading.Barrier(2), []

    def work(rank):
        own = embeddings[rank::2]
        if rank and broken == 'shape':
            own = own[:9]
        elif rank:
            own[5, 1] = broken
        try:
            CoreSet().order_sharded(
                scores_of(np.zeros(10)), own, labelled,
                Threads(rank, shared, barrier))
        except Exception as e:
            errors.append(e)

    threads = [threading.Thread(target=work, args=(r, )) for r in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 2
    for error in errors:
        assert isinstance(error, ValueError)
        assert error.args[0] == errors[0].args[0]
        with pytest.raises(ValueError, match=message):
            raise error


def two_processes(rank, address, queue):
    import torch.distributed as dist
    dist.init_process_group(
        'gloo', init_method=f'file://{address}', rank=rank, world_size=2)
    embeddings, labelled = pool(n=101)
    scores = scores_of(np.zeros(101))
    index = np.arange(rank, 101, 2)
    order = CoreSet().order_sharded(
        scores.take(index), embeddings[index], labelled, ProcessGroup())
    queue.put(list(islice(order, 30)))
    dist.barrier()
    close_dist()


def test_two_processes_choose_what_one_chooses(tmp_path):
    queue = mp.get_context('fork').SimpleQueue()
    mp.start_processes(two_processes, (str(tmp_path / 'store'), queue),
                       nprocs=2, start_method='fork')
    embeddings, labelled = pool(n=101)
    expected = CoreSet().select(
        scores_of(np.zeros(101)), 30, embeddings, labelled)
    assert queue.get() == queue.get() == expected


def test_few_distances_are_measured(monkeypatch):
    measured = []
    original = Quantizer.min_squares

    def counted(self, cells, norms, centres, centre_norms):
        measured.append(len(cells) * len(centres))
        return original(self, cells, norms, centres, centre_norms)

    monkeypatch.setattr(Quantizer, 'min_squares', counted)
    monkeypatch.setattr(lazy_greedy, 'frontier_rows', lambda dim: 200)
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((5000, 32)).astype('f4')
    CoreSet(start='random').select(scores_of(np.zeros(5000)), 200, embeddings)
    assert sum(measured) < 0.5 * 200 * 5000  # the plain way: 0.995


@pytest.mark.parametrize('kwargs, message', [
    (dict(start='first'), "start is 'first': choose one of 'labelled'"),
    (dict(distance='l1'), "distance is 'l1'"),
    (dict(dtype='int8'), "dtype is 'int8'"),
])
def test_unknown_options(kwargs, message):
    with pytest.raises(ValueError, match=message):
        CoreSet(**kwargs)


def test_errors_say_what_is_wrong():
    embeddings, labelled = pool(n=3)
    scores = scores_of([1., -2., 3.])
    with pytest.raises(ValueError, match='cannot select 4 of 3'):
        CoreSet().select(scores, 4, embeddings, labelled)
    with pytest.raises(ValueError, match=r'embeddings of shape \[3, D\]'):
        CoreSet().select(scores, 1)
    with pytest.raises(ValueError, match='needs the embeddings of the lab'):
        CoreSet().select(scores, 1, embeddings)
    with pytest.raises(ValueError, match='6 dimensions .* images 2'):
        CoreSet().select(scores, 1, embeddings, labelled[:, :2])
    with pytest.raises(ValueError, match='image 1 has -2.*weighted=False'):
        CoreSet(weighted=True).select(scores, 1, embeddings, labelled)
    embeddings[2, 1] = np.nan
    with pytest.raises(ValueError, match='of image image 2 has .* NaN'):
        CoreSet().select(scores, 1, embeddings, labelled)
