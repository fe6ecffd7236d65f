"""Gradient matching against its dense problem, v known."""
import numpy as np
import pytest
from brute import scores_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from mmal.selection import GradientMatching, TopN


def pool(n=40, dim=6, seed=0):
    """Gradients, the one to follow, and the products of both."""
    rng = np.random.default_rng(seed)
    gradients = rng.standard_normal((n, dim)) * rng.gamma(1, 1, (n, 1))
    gradients = gradients.astype('f4')
    v = rng.standard_normal(dim)
    return gradients, v, scores_of(gradients.astype(float) @ v)


def by_hand(gradients, v, scores, n, ridge=.1):
    """Least squares with rows for the penalty, solved anew for each image."""
    g = gradients.astype(float)
    known = np.flatnonzero(scores.values > -np.inf)
    ridge *= (g[known]**2).sum(1).mean()
    left, chosen = list(known), []
    while len(chosen) < n:
        part, residual = [], v
        while len(chosen) + len(part) < n:
            gains = {j: max(g[j] @ residual, 0)**2 / (g[j] @ g[j] + ridge)
                     for j in left}
            best = max(gains, key=gains.get, default=None)
            if best is None or gains[best] < 1e-9:
                break
            part.append(best)
            left.remove(best)
            rows = np.vstack([g[part].T, ridge**.5 * np.eye(len(part))])
            x, _ = nnls(rows, np.r_[v, np.zeros(len(part))])
            residual = v - g[part].T @ x
        if not part:
            break
        chosen += part
    rest = [i for i in TopN().select(scores, len(scores))
            if i not in {scores.ids[j] for j in chosen}]
    return ([scores.ids[j] for j in chosen] + rest)[:n]


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('ridge', [.01, .1, 2.])
def test_equals_the_dense_problem(seed, ridge):
    gradients, v, scores = pool(seed=seed)
    scores.values[::7] = -np.inf
    selector = GradientMatching(ridge)
    got = selector.select(scores, 40, gradients)
    assert got == by_hand(gradients, v, scores, 40, ridge)
    for n in (0, 1, 9):
        assert selector.select(scores, n, gradients) == got[:n]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 20), st.integers(1, 6), st.integers(0, 10_000))
def test_every_image_comes_once_and_in_an_order_of_its_own(n, dim, seed):
    gradients, _, scores = pool(n, dim, seed)
    got = GradientMatching().select(scores, n, gradients)
    assert sorted(got) == sorted(scores.ids)
    # neither the order of the pool nor a unit matters
    order = np.random.default_rng(seed).permutation(n)
    assert GradientMatching().select(
        scores.take(order), n, gradients[order]) == got
    scaled = scores_of(8 * scores.values)
    assert GradientMatching().select(scaled, n, 4 * gradients) == got


def test_the_batch_comes_nearer_than_the_highest_products():
    for seed in range(8):
        gradients, v, scores = pool(200, 10, seed)
        left = {}
        for selector in (GradientMatching(), TopN()):
            ids = selector.select(scores, 10, gradients)
            rows = gradients[[scores.ids.index(i) for i in ids]]
            left[type(selector)] = nnls(rows.T.astype(float), v)[1]
        assert left[GradientMatching] < .6 * left[TopN]


def test_a_copy_of_a_chosen_image_is_put_off():
    gradients = np.array([[2, 0], [2, 0], [0, 1], [-1, -1]], 'f4')
    scores = scores_of(gradients @ [1, 1], [0, .1, .2, .3])
    assert GradientMatching().select(scores, 4, gradients) == [
        f'image {i}' for i in (0, 2, 1, 3)]


def test_where_nothing_helps_scores_decide():
    gradients, _, scores = pool()
    scores = scores_of(-np.abs(scores.values))
    scores.values[3] = -np.inf
    assert GradientMatching().select(scores, 40, gradients) == \
        TopN().select(scores, 40)
    zeros = np.zeros_like(gradients)
    assert GradientMatching().select(scores, 40, zeros) == \
        TopN().select(scores, 40)
    empty = scores.take(slice(0, 0))
    assert GradientMatching().select(empty, 0, gradients[:0]) == []
    assert list(GradientMatching().order(empty, gradients[:0])) == []


def test_images_without_a_score_do_not_count():
    gradients, _, scores = pool()
    scores.values[:5] = -np.inf
    got = GradientMatching().select(scores, 40, gradients)
    gradients[:5] = 1e6
    assert GradientMatching().select(scores, 40, gradients) == got


def test_mistakes_are_told():
    gradients, _, scores = pool()
    with pytest.raises(ValueError, match=r'ridge is 0.*above 0'):
        GradientMatching(ridge=0)
    with pytest.raises(ValueError, match='dtype'):
        GradientMatching(dtype='int8')
    with pytest.raises(ValueError, match=r'\[40, D\]'):
        GradientMatching().order(scores, gradients[1:])
    gradients[3, 1] = np.nan
    with pytest.raises(ValueError, match='number 3'):
        GradientMatching().order(scores, gradients)
    scores.values[2] = np.inf
    with pytest.raises(ValueError, match='image 2 is infinite'):
        GradientMatching().order(scores, pool()[0])
