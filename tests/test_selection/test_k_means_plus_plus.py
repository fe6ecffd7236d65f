import itertools

import numpy as np
import pytest
from brute import cosine, euclidean, scores_of
from brute import squared as square_sum
from hypothesis import given, settings
from hypothesis import strategies as st
from test_core_set import order_in_threads, pool, with_outliers

from mmal.randomness import SeededStreams
from mmal.scores import Scores
from mmal.selection import (
    CoreSet,
    KMeansPlusPlus,
    d2_sampling,
    greedy_d2_sampling,
)
from mmal.selection.distances import Quantizer


def squared(x, y):
    return euclidean(x, y)**2


def race(scores, n, x, centres, weights, distance=squared, seed=0, trials=1):
    """Ids of n images after the centres, every distance measured anew; of
    so many trials the one with the smallest sum of weighted distances."""
    x = np.asarray(x, np.float64)
    centres = list(np.asarray(centres, np.float64))
    streams = SeededStreams(scores.ids, seed, 0, 'k-means++', 'draws')
    left, chosen = set(range(len(x))), []
    for _ in range(n):
        nearest = np.min([distance(x, c) for c in centres], 0)
        speed = weights * nearest / streams.exponential(len(centres))
        drawn = sorted(left, key=lambda i: (-speed[i], scores.tiebreak[i]))
        drawn = [i for i in drawn[:trials] if speed[i]] or drawn[:1]
        potential = np.array([
            weights @ np.minimum(nearest, distance(x, x[i])) for i in drawn])
        # two that come near to nobody but each other are equally good, which
        # rounding would hide
        good = potential <= potential.min() + 1e-12 * (weights @ nearest)
        best = drawn[int(np.argmax(good))]
        left.remove(best)
        chosen.append(scores.ids[best])
        centres.append(x[best])
    return chosen


@pytest.mark.parametrize('name, distance', [('euclidean', squared),
                                            ('cosine', cosine)])
@pytest.mark.parametrize('weighted', [False, True])
def test_equals_measuring_every_distance(name, distance, weighted):
    embeddings, labelled = pool(labelled=70)
    values = np.random.default_rng(1).uniform(0, 2, 300)
    scores = scores_of(values)
    selector = KMeansPlusPlus('labelled', weighted, name, seed=3)
    expected = race(scores, 60, embeddings, labelled,
                    values if weighted else np.ones(300), distance, 3)
    assert selector.select(scores, 60, embeddings, labelled) == expected


@pytest.fixture(params=[None, 1e-2], ids=['float32', 'rough products'])
def rough(request, monkeypatch):
    """Products may be so rough that exact distances settle every choice."""
    if request.param:
        monkeypatch.setattr(greedy_d2_sampling, '_EPSILON', request.param)


@pytest.mark.parametrize('name, distance', [('euclidean', squared),
                                            ('cosine', cosine)])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('trials', [2, 7, 1000])
def test_the_trial_with_the_smallest_potential_is_taken(
        rough, name, distance, weighted, trials):
    embeddings, labelled = pool(labelled=70)
    values = np.random.default_rng(1).uniform(0, 2, 300)
    scores = scores_of(values)
    selector = KMeansPlusPlus('labelled', weighted, name, 3, trials=trials)
    expected = race(scores, 60, embeddings, labelled,
                    values if weighted else np.ones(300), distance, 3, trials)
    assert selector.select(scores, 60, embeddings, labelled) == expected


@pytest.mark.parametrize('dim', [8, 600])
@pytest.mark.parametrize('size, offset', [(1, 0), (2.**90, 0), (2.**-90, 0),
                                          (1, 4096), (2.**124, 0)])
@pytest.mark.filterwarnings('error')
def test_trials_of_embeddings_that_float32_holds_badly(dim, size, offset):
    rng = np.random.default_rng(0)
    rows = rng.integers(-9, 10, (100, dim)) + offset
    values = rng.uniform(0, 2, 100)
    scores = scores_of(values)
    got = KMeansPlusPlus('best', trials=4).select(
        scores, 40, (rows * size).astype('f4'))
    first = int(values.argmax())
    left = np.delete(np.arange(100), first)
    assert got[0] == scores.ids[first]
    assert got[1:] == race(
        scores.take(left), 39, rows[left], rows[[first]], values[left],
        trials=4)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    exponent=st.floats(3, 7),
    number=st.integers(1, 30),
    dim=st.sampled_from([1, 3, 16, 200]),
    trials=st.sampled_from([1, 5]))
def test_outliers_do_not_blur_the_others(seed, exponent, number, dim,
                                         trials):
    rng = np.random.default_rng(seed)
    embeddings = with_outliers(rng, 150, dim, number, exponent)
    labelled = with_outliers(rng, 3, dim, 1, exponent)
    values = rng.uniform(0, 2, 150)
    scores = scores_of(values)
    selector = KMeansPlusPlus('labelled', seed=3, trials=trials)
    expected = race(scores, 60, embeddings, labelled, values, square_sum, 3,
                    trials)
    assert selector.select(scores, 60, embeddings, labelled) == expected


def probabilities(x, weights, start, n):
    """p of each ordered choice of n points after ``start``, by the formula
    of the paper."""
    out = {}
    for order in itertools.permutations(
            [i for i in range(len(x)) if i != start], n):
        chosen, p = [start], 1.0
        for i in order:
            d = np.min([squared(x, x[c]) for c in chosen], 0)
            p *= weights[i] * d[i] / (weights * d).sum()
            chosen.append(i)
        out[order] = p
    return out


def test_draws_with_the_probabilities_of_the_paper():
    x = np.array([[0., 0], [1, 0], [0, 2], [3, 1], [1, 1]])
    weights = np.array([3., .5, 1., .2, 2.])
    scores = scores_of(weights)
    expected = probabilities(x, weights, 0, 2)
    assert sum(expected.values()) == pytest.approx(1)
    counts, number = dict.fromkeys(expected, 0), 4000
    for seed in range(number):
        got = KMeansPlusPlus('best', seed=seed).select(scores, 3, x)
        order = [scores.ids.index(i) for i in got]
        assert order[0] == 0
        counts[tuple(order[1:])] += 1
    for order, p in expected.items():
        sigma = np.sqrt(p * (1 - p) / number)
        assert abs(counts[order] / number - p) < 5 * sigma


def test_every_image_is_as_likely_to_be_the_first():
    embeddings, _ = pool(n=5)
    scores = scores_of([0., 1., 2., 3., 4.])
    counts = dict.fromkeys(scores.ids, 0)
    for seed in range(1000):
        counts[KMeansPlusPlus(seed=seed).select(scores, 1,
                                                embeddings)[0]] += 1
    assert abs(np.array(list(counts.values())) - 200).max() < 64


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
    trials = data.draw(st.integers(1, 5))
    got = KMeansPlusPlus('labelled', trials=trials).select(
        scores, count, x, labelled)
    assert got == race(scores, count, x, labelled, weights, trials=trials)


@settings(deadline=None, max_examples=30)
@given(st.randoms(), st.sampled_from(['random', 'best', 'labelled']),
       st.sampled_from([1, 3]))
def test_order_of_the_pool_does_not_matter(rng, start, trials):
    embeddings, labelled = pool(n=40)
    scores = scores_of(np.round(np.random.default_rng(2).uniform(0, 2, 40)))
    order = list(range(40))
    rng.shuffle(order)
    selector = KMeansPlusPlus(start, trials=trials)
    expected = selector.select(scores, 15, embeddings, labelled)
    assert expected == selector.select(
        scores.take(order), 15, embeddings[order], labelled)
    assert expected[:6] == selector.select(scores, 6, embeddings, labelled)


@pytest.mark.parametrize('trials', [1, 7])
@pytest.mark.parametrize('start', ['labelled', 'random', 'best'])
def test_minus_infinity_comes_last_and_zeros_before_it(start, trials):
    embeddings, labelled = pool(n=30)
    values = np.ones(30)
    values[::3] = -np.inf
    values[1::3] = 0
    values[1] = 1
    scores = scores_of(values)
    got = KMeansPlusPlus(start, seed=1, trials=trials).select(
        scores, 30, embeddings, labelled)
    assert len(set(got)) == 30
    last = {scores.ids[i] for i in range(0, 30, 3)}
    zero = {scores.ids[i] for i in range(4, 30, 3)}
    assert set(got[20:]) == last
    first = 1 if start == 'random' else 0  # drawn whatever its score is
    assert not zero & set(got[first:10])
    none = scores_of(np.full(30, -np.inf))
    assert len(set(KMeansPlusPlus(start).select(
        none, 30, embeddings, labelled))) == 30


@pytest.mark.parametrize('start', ['random', 'labelled'])
def test_each_round_draws_anew(start):
    embeddings, labelled = pool()
    selector, found = KMeansPlusPlus(start), []
    for round in (0, 1, 0):
        selector.prepare(round)
        found.append(selector.select(scores_of(np.ones(300)), 20, embeddings,
                                     labelled))
    assert found[0] == found[2] != found[1]


def test_nothing_to_choose():
    assert KMeansPlusPlus().select(scores_of([]), 0) == []
    assert KMeansPlusPlus().select(scores_of([1.]), 0) == []


@pytest.mark.parametrize('trials', [1, 3])
def test_memory_mapped_halves(tmp_path, trials):
    embeddings = pool()[0].astype('f2')
    scores = scores_of(np.ones(300))
    np.save(tmp_path / 'e.npy', embeddings)
    mapped = np.load(tmp_path / 'e.npy', mmap_mode='r')
    selector = KMeansPlusPlus(trials=trials)
    assert selector.select(scores, 40, mapped) == \
        selector.select(scores, 40, embeddings.astype('f8'))


@pytest.mark.parametrize('start', ['labelled', 'random', 'best'])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('trials', [1, 6])
def test_shards_choose_what_one_process_chooses(
        rough, start, weighted, trials):
    embeddings, labelled = pool(n=100)
    values = np.random.default_rng(4).uniform(0, 1, 100)
    values[[3, 50, 99]] = -np.inf
    scores = scores_of(values)
    selector = KMeansPlusPlus(start, weighted, trials=trials)
    expected = selector.select(scores, 100, embeddings, labelled)
    # the third has nothing, the second runs out early
    shards = np.arange(0, 90), np.arange(90, 100), np.arange(0)
    assert order_in_threads(selector, scores, embeddings, labelled,
                            shards) == [expected] * 3


def test_few_distances_are_measured(monkeypatch):
    measured = []

    def counted(self, cells, norms, start, stop=None):
        end = len(self) if stop is None else stop
        measured.append(len(cells) * (end - start))
        return original(self, cells, norms, start, stop)

    original = d2_sampling.Centres.min_squares
    monkeypatch.setattr(d2_sampling.Centres, 'min_squares', counted)
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((5000, 32)).astype('f4')
    KMeansPlusPlus().select(scores_of(np.ones(5000)), 200, embeddings)
    assert sum(measured) < 0.2 * 200 * 5000  # the plain way: 0.995


def test_trials_compute_few_exact_distances(monkeypatch):
    """Where no trials are as good as each other, float32 tells which is the
    best; exact are only distances of images that may be drawn."""
    measured = []

    def counted(self, cells, norms, centres, centre_norms):
        measured.append(len(cells) * len(centres))
        return original(self, cells, norms, centres, centre_norms)

    original = Quantizer.min_squares
    monkeypatch.setattr(Quantizer, 'min_squares', counted)
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((5000, 32)).astype('f4')
    KMeansPlusPlus(trials=7).select(scores_of(np.ones(5000)), 200, embeddings)
    assert sum(measured) < 0.05 * 7 * 200 * 5000


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('selector', [
    KMeansPlusPlus('best'), KMeansPlusPlus('best', distance='cosine'),
    KMeansPlusPlus('best', trials=3), CoreSet('best', weighted=True)
], ids=['euclidean', 'cosine', 'trials', 'core-set'])
def test_tiny_and_huge_numbers(selector):
    embeddings, _ = pool(n=30)
    values = np.random.default_rng(0).uniform(0, 1, 30)
    expected = selector.select(scores_of(values), 30, embeddings)
    for weight, size in ((2.**900, 2.**90), (2.**-900, 2.**-90)):
        got = selector.select(
            scores_of(values * weight), 30, embeddings * np.float32(size))
        assert got == expected
    nothing = np.zeros((30, 0), 'f4')
    assert len(set(selector.select(scores_of(values), 30, nothing))) == 30


def test_errors_say_what_is_wrong():
    embeddings, _ = pool(n=3)
    scores = scores_of([1., -2., 3.])
    with pytest.raises(ValueError, match='KMeansPlusPlus: distance is .l1'):
        KMeansPlusPlus(distance='l1')
    for trials in (0, 2.5, None, True):
        with pytest.raises(ValueError, match='trials is .* whole number'):
            KMeansPlusPlus(trials=trials)
    with pytest.raises(ValueError, match='cannot select 4 of 3'):
        KMeansPlusPlus().select(scores, 4, embeddings)
    with pytest.raises(
            ValueError, match=r'KMeansPlusPlus needs embeddings of shape'):
        KMeansPlusPlus().select(scores, 1)
    with pytest.raises(ValueError, match=r"KMeansPlusPlus\(start='labelled'"):
        KMeansPlusPlus('labelled').select(scores, 1, embeddings)
    with pytest.raises(ValueError, match='image 1 has -2.*weighted=False'):
        KMeansPlusPlus().select(scores, 1, embeddings)
    ids = Scores([5, 6, 7], np.zeros(3), np.zeros(3))
    embeddings[2, 1] = np.nan
    with pytest.raises(ValueError, match='of image 7 has .* NaN'):
        KMeansPlusPlus().select(ids, 1, embeddings)
