"""Clusters and balls, against the same done slowly."""
import numpy as np
import pytest
from brute import scores_of
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.scores import Scores
from mmal.selection import (
    KMeansCentres,
    KMeansPlusPlus,
    ProbCover,
    TwoStage,
    TypiClust,
)

SELECTORS = dict(centres=KMeansCentres, typical=TypiClust, cover=ProbCover)
KEYS = dict(centres='clusters', typical='clusters', cover='prob-cover')


def pool(seed, n=40, held=3, last=2):
    """Random points around a few places, some of score -inf."""
    rng = np.random.default_rng(seed)
    places = 3 * rng.standard_normal((5, 4))
    rows = (places[rng.integers(0, 5, n + held)]
            + rng.standard_normal((n + held, 4))).astype('f4')
    values = np.zeros(n)
    values[rng.permutation(n)[:last]] = -np.inf
    return scores_of(values, rng.permutation(n) / n), rows[held:], rows[:held]


def unit(rows):
    rows = np.asarray(rows, np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def distances(rows):
    return np.sqrt(((rows[:, None] - rows[None])**2).sum(-1))


def lloyd(rows, centres, weights=None):
    """One point after another, until nothing changes."""
    weights = np.ones(len(rows)) if weights is None else weights
    of = None
    while True:
        before, of = of, [int(np.argmin([((x - c)**2).sum() for c in centres]))
                          for x in rows]
        if of == before:
            return np.array(of), np.array(centres)
        for k in range(len(centres)):
            own = [n for n, o in enumerate(of) if o == k and weights[n] > 0]
            if own:
                centres[k] = np.average(rows[own], 0, weights[own])


def start(selector, scores, embeddings, labelled, number, distance,
          weighted=False):
    """Centres of k-means++, and the pool as the selectors see it."""
    rows = [n for n in np.argsort(scores.tiebreak)
            if scores.values[n] > -np.inf]
    move = unit if distance == 'cosine' else np.float64
    held = 0 if labelled is None else len(labelled)
    beside = 0 < held < number
    drawn = KMeansPlusPlus(
        'labelled' if beside else 'random', weighted, distance) \
        .with_seed_key(KEYS[selector]).select(
            scores, min(number - held * beside, len(rows)), embeddings,
            labelled)
    points = np.concatenate([move(embeddings[rows])] + (
        [move(labelled)] if held else []))
    centres = [*(points[len(rows):] if beside else ()), *(
        move(embeddings)[scores.ids.index(i)] for i in drawn)]
    return rows, points, centres


def in_turn(scores, rows, of, worth, min_size):
    """Cluster after cluster, everything counted again for each image."""
    taken = {n for n in range(len(of)) if n >= len(rows)}
    order = []
    while len(order) < len(rows):
        left = {k for n, k in enumerate(of) if n not in taken}

        def turn(k):
            own = np.flatnonzero(of == k)
            return (len(own) < min_size, sum(n in taken for n in own),
                    -len(own), k)

        cluster = min(left, key=turn)
        own = [n for n in np.flatnonzero(of == cluster) if n not in taken]
        best = min(own, key=lambda n: (worth[n], n))
        taken.add(best)
        order.append(best)
    return [scores.ids[rows[n]] for n in order] + [
        scores.ids[n] for n in np.argsort(scores.tiebreak)
        if scores.values[n] == -np.inf]


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 999), draws=st.integers(1, 12),
       held=st.integers(0, 4), distance=st.sampled_from(
           ['euclidean', 'cosine']), begin=st.sampled_from(
               ['labelled', 'random']))
def test_k_means_centres(seed, draws, held, distance, begin):
    scores, embeddings, labelled = pool(seed, held=held)
    selector = KMeansCentres(distance=distance, start=begin).with_draws(draws)
    order = list(selector.order(scores, embeddings, labelled))
    if begin == 'random':
        labelled, held = None, 0
    rows, points, centres = start('centres', scores, embeddings, labelled,
                                  draws + held, distance)
    of, centres = lloyd(points, centres)
    worth = ((points - centres[of])**2).sum(1).round(9)
    assert order == in_turn(scores, rows, of, worth, 1)


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 999), draws=st.integers(1, 9))
def test_k_means_centres_weighted_by_scores(seed, draws):
    scores, embeddings, _ = pool(seed)
    weight = np.random.default_rng(seed).integers(0, 4, 40) * 1.
    scores = Scores(scores.ids, np.where(
        scores.values == 0, weight, -np.inf), scores.tiebreak)
    selector = KMeansCentres(draws, weighted=True, start='random')
    assert selector.needs_weights and not selector.needs_draws
    rows, points, centres = start('centres', scores, embeddings, None, draws,
                                  'euclidean', True)
    of, centres = lloyd(points, centres, weight[rows])
    worth = ((points - centres[of])**2).sum(1).round(9)
    assert list(selector.order(scores, embeddings)) == in_turn(
        scores, rows, of, worth, 1)
    with pytest.raises(ValueError, match='weights images by their scores'):
        selector.order(np.full(40, -1.), embeddings)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 999), draws=st.integers(1, 9),
       held=st.integers(0, 3), neighbours=st.integers(1, 6),
       most=st.sampled_from([None, 4]))
def test_typi_clust(seed, draws, held, neighbours, most):
    scores, embeddings, labelled = pool(seed, held=held)
    selector = TypiClust(max_clusters=most, neighbours=neighbours)
    order = list(selector.with_draws(draws).order(scores, embeddings,
                                                  labelled))
    number = min(draws + held, most or 99)
    rows, points, centres = start('typical', scores, embeddings, labelled,
                                  number, 'cosine')
    of, _ = lloyd(points, centres)
    between, worth = distances(points), np.zeros(len(points))
    for n in range(len(points)):
        others = [m for m in np.flatnonzero(of == of[n]) if m != n]
        nearest = np.sort(between[n, others])[:neighbours]
        worth[n] = nearest.mean() if len(nearest) else 0
    assert order == in_turn(scores, rows, of, worth.round(9), 5)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 999), held=st.integers(0, 3),
       radius=st.sampled_from([.5, 1., 1.5, 2., 9.]), n=st.integers(1, 25))
def test_prob_cover(seed, held, radius, n):
    """On whole numbers, so that many balls are equal, and many distances the
    radius itself."""
    rng = np.random.default_rng(seed)
    scores, _, _ = pool(seed, n=n, last=min(2, n - 1))
    embeddings = rng.integers(0, 5, (n, 2)).astype('f4')
    labelled = rng.integers(0, 5, (held, 2)).astype('f4')
    rows = [k for k in np.argsort(scores.tiebreak)
            if scores.values[k] > -np.inf]
    points = np.concatenate([embeddings[rows], labelled]).astype(float)
    near = distances(points) < radius
    covered = near[:, len(rows):].any(1)[:len(rows)]
    near, left, expected = near[:len(rows), :len(rows)], [*range(
        len(rows))], []
    while left:
        gains = [(near[k] & ~covered).sum() for k in left]
        if not max(gains):
            break
        best = left.pop(int(np.argmax(gains)))
        covered = covered | near[best]
        expected.append(best)
    expected = [scores.ids[rows[k]] for k in [*expected, *left]] + [
        scores.ids[k] for k in np.argsort(scores.tiebreak)
        if scores.values[k] == -np.inf]
    selector = ProbCover(radius, distance='euclidean')
    assert list(selector.order(scores, embeddings, labelled)) == expected


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 999), classes=st.integers(2, 6),
       purity=st.sampled_from([.5, .9, .95, 1.]))
def test_the_largest_radius_of_pure_balls(seed, classes, purity):
    """Whatever radius is given, it chooses otherwise or is not larger."""
    scores, embeddings, labelled = pool(seed)
    options = dict(purity=purity, pseudo_classes=classes)
    order = list(ProbCover(**options).order(scores, embeddings, labelled))
    _, points, centres = start('cover', scores, embeddings, labelled, classes,
                               'cosine')
    of, _ = lloyd(points, centres)
    between = distances(points)

    def pure(radius):
        return np.mean([(of[between[n] < radius] == of[n]).all()
                        for n in range(len(points))])

    # radii at which anything changes
    radii = np.unique(between[between > 0])
    largest = max(r for r in radii if pure(r * (1 - 1e-7)) >= purity)
    for radius in (largest * (1 - 1e-6), largest * (1 + 1e-6)):
        if order == list(ProbCover(radius).order(scores, embeddings,
                                                 labelled)):
            break
    else:
        raise AssertionError(largest)


@pytest.mark.parametrize('kind', sorted(SELECTORS))
def test_an_order_is_that_of_the_images_not_of_their_rows(kind):
    scores, embeddings, labelled = pool(0)
    selector = SELECTORS[kind]().with_draws(7)
    order = list(selector.order(scores, embeddings, labelled))
    assert sorted(order) == sorted(scores.ids)
    shuffle = np.random.default_rng(1).permutation(40)
    assert order == list(selector.order(
        scores.take(shuffle), embeddings[shuffle], labelled))
    assert selector.select(scores, 5, embeddings, labelled) == order[:5]
    # half of the numbers are enough for whole ones
    whole = embeddings.round()
    assert selector.select(scores, 9, whole, labelled) == selector.select(
        scores, 9, whole.astype('f2'), labelled)


@pytest.mark.parametrize('kind', sorted(SELECTORS))
def test_rounds_and_seeds_draw_other_clusters(kind):
    rng = np.random.default_rng(0)
    rows, results = rng.standard_normal((60, 3)), set()
    for seed in range(3):
        for round in range(3):
            selector = SELECTORS[kind](start='random', seed=seed)
            selector.prepare(round)
            results.add(tuple(selector.select(np.zeros(60), 6, rows)))
    assert len(results) > 3


@pytest.mark.parametrize('kind', sorted(SELECTORS))
def test_pools_of_any_size(kind):
    for n in (0, 1, 2):
        scores, embeddings, labelled = pool(0, n=n, held=2, last=0)
        selector = SELECTORS[kind]().with_draws(3)
        for held in (labelled, labelled[:0]):
            order = list(selector.order(scores, embeddings, held))
            assert sorted(order) == sorted(scores.ids)
    # all the same, and none with a score
    same, nothing = np.ones((9, 2)), np.full(9, -np.inf)
    for values in (np.zeros(9), nothing):
        assert sorted(selector.order(values, same, same[:1])) == [*range(9)]


def test_first_labels_come_from_the_middle_of_crowds():
    """What the methods are for: k-means++ and core-set like the outliers."""
    rng = np.random.default_rng(0)
    crowds = np.array([[0, 0], [8, 0], [0, 8.]]).repeat(30, 0)
    rows = crowds + .5 * rng.standard_normal((90, 2))
    rows[::10] += 3 * rng.standard_normal((9, 2))
    for selector in (TypiClust(start='random', distance='euclidean'),
                     KMeansCentres(start='random'),
                     ProbCover(1., start='random', distance='euclidean')):
        chosen = selector.select(np.zeros(90), 3, rows)
        assert {i // 30 for i in chosen} == {0, 1, 2}
        assert (np.linalg.norm(rows - crowds, axis=1)[chosen] < .7).all()


def test_they_serve_as_stages():
    scores, embeddings, labelled = pool(0)
    stages = TwoStage(dict(type='mmal.TopN'), dict(type='mmal.TypiClust'), 3.)
    assert stages.needs_labelled and not stages.can_share
    chosen = stages.select(scores, 5, embeddings, labelled)
    assert len(set(chosen)) == 5


@pytest.mark.parametrize('kind', sorted(SELECTORS))
def test_what_is_wrong_is_named(kind):
    scores, embeddings, labelled = pool(0)
    cls = SELECTORS[kind]
    with pytest.raises(ValueError, match="start is 'best'"):
        cls(start='best')
    with pytest.raises(ValueError, match='iterations is 0'):
        cls(iterations=0)
    selector = cls().with_draws(3)
    with pytest.raises(ValueError, match='needs embeddings of shape'):
        selector.order(scores, embeddings[:3], labelled)
    with pytest.raises(ValueError, match='needs the embeddings of the label'):
        selector.order(scores, embeddings)
    with pytest.raises(ValueError, match='4 dimensions but those'):
        selector.order(scores, embeddings, labelled[:, :2])
    broken = embeddings.copy()
    broken[scores.ids.index('image 3')] = np.nan
    with pytest.raises(ValueError, match='image 3 has values that are NaN'):
        selector.order(scores, broken, labelled)


@pytest.mark.parametrize('cls, options, message', [
    (KMeansCentres, dict(clusters=0), 'clusters is 0'),
    (TypiClust, dict(neighbours=0), 'neighbours is 0'),
    (TypiClust, dict(max_clusters=0), 'max_clusters is 0'),
    (ProbCover, dict(delta=0.), 'delta is 0.0'),
    (ProbCover, dict(purity=0.), 'purity is 0.0'),
    (ProbCover, dict(pseudo_classes=1), 'pseudo_classes is 1')])
def test_wrong_options_are_named(cls, options, message):
    with pytest.raises(ValueError, match=message):
        cls(**options)


def test_the_number_of_clusters_is_given_or_follows_from_the_draws():
    scores, embeddings, labelled = pool(0)
    for cls in (KMeansCentres, TypiClust):
        assert cls().needs_draws and not cls(clusters=4).needs_draws
        assert list(cls(clusters=10).order(scores, embeddings, labelled)) == \
            list(cls().with_draws(7).order(scores, embeddings, labelled))
        with pytest.raises(ValueError, match='Give clusters'):
            cls().order(scores, embeddings, labelled)
