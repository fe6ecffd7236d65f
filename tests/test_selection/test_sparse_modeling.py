import numpy as np
import pytest
from brute import scores_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear
from sklearn.linear_model import orthogonal_mp
from test_low_rank import dense

from mmal.selection import SparseModeling, TopN


def pool(n=60, dim=5, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.gamma(1, 1, (n, dim)).astype('f4'),
            scores_of(rng.uniform(0, 3, n)))


def gain(column, residual):
    """How much the objective falls by this column alone."""
    size = column @ column
    t = min(max(column @ residual / size, 0), 1) if size > 0 else 0
    return residual @ residual - ((residual - t * column)**2).sum()


def by_hand(name, x, scores, n):
    """D is formed; another solver finds the coefficients each time."""
    known = scores.values > -np.inf
    s = np.where(known, scores.values, 0)
    s = s / s.max()
    d = dense(name, x, known)
    left, chosen = list(np.flatnonzero(known)), []
    while len(chosen) < n:
        part, residual = [], s
        while len(chosen) + len(part) < n:
            gains = {j: gain(d[:, j], residual) for j in left}
            best = max(gains, key=gains.get, default=None)
            if best is None or gains[best] < 1e-10 * (s @ s):
                break
            part.append(best)
            left.remove(best)
            x_part = lsq_linear(d[:, part], s, (0, 1), 'bvls', tol=1e-15).x
            residual = s - d[:, part] @ x_part
        if not part:
            break
        chosen += part
    return [scores.ids[i] for i in chosen]


@pytest.mark.parametrize('name', ['cosine', 'euclidean'])
@pytest.mark.parametrize('seed', range(4))
def test_equals_the_dense_problem(name, seed):
    x, scores = pool(seed=seed)
    scores.values[::7] = -np.inf
    got = SparseModeling(name).select(scores, 40, x)
    assert got == by_hand(name, x, scores, 40)
    # more than the rank of D: several problems, one after another
    for n in (0, 1, 7, 39):
        assert SparseModeling(name).select(scores, n, x) == got[:n]


def test_coefficients_at_the_upper_bound():
    """Almost a unit matrix: images with the highest score have x near 1."""
    rng = np.random.default_rng(0)
    x = np.eye(30) + .03 * rng.standard_normal((30, 30))
    scores = scores_of(1 - .01 * rng.uniform(size=30))
    got = SparseModeling().select(scores, 30, x)
    assert got == by_hand('cosine', x, scores, 30)


def test_equals_matching_pursuit_where_no_bound_is_met():
    """scikit-learn's, with columns of unit length, knows no bounds."""
    compared = 0
    for seed in range(30):
        x, scores = pool(n=40, dim=8, seed=seed)
        d = dense('cosine', x, np.ones(40, bool))
        sizes = np.linalg.norm(d, axis=0)
        s = scores.values / scores.values.max()
        path = [orthogonal_mp(d / sizes, s, n_nonzero_coefs=n) / sizes
                for n in (1, 2, 3)]
        if min(c.min() for c in path) < 0 or max(c.max() for c in path) > 1:
            continue
        compared += 1
        got = SparseModeling().select(scores, 3, x)
        for n, c in enumerate(path, 1):
            assert set(np.flatnonzero(c)) == {
                scores.ids.index(i) for i in got[:n]}
    assert compared > 5


def test_copies_are_not_chosen_at_the_same_time():
    centres = np.array([[1., 0, 0], [0, 1, 0], [0, 0, 1]])
    x = np.repeat(centres, 10, 0)
    scores = scores_of(np.linspace(1, .5, 30))
    for name in ('cosine', 'euclidean'):
        got = SparseModeling(name).select(scores, 3, x)
        assert {scores.ids.index(i) // 10 for i in got} == {0, 1, 2}


@settings(deadline=None, max_examples=40)
@given(st.randoms(), st.sampled_from(['cosine', 'euclidean']))
def test_order_of_the_pool_does_not_matter_even_with_copies(rng, name):
    x, scores = pool(n=30)
    x[10:20] = x[:10]
    scores.values[10:20] = scores.values[:10]
    order = list(range(30))
    rng.shuffle(order)
    expected = SparseModeling(name).select(scores, 30, x)
    assert len(set(expected)) == 30
    assert expected == SparseModeling(name).select(
        scores.take(order), 30, x[order])


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_small_pool(data):
    n = data.draw(st.integers(1, 8))
    number = st.sampled_from([0, 1, -1, 2])
    row = st.lists(number, min_size=2, max_size=2)
    x = np.array(data.draw(st.lists(row, min_size=n, max_size=n)), 'f2')
    value = st.sampled_from([-np.inf, 0., 1e-300, 1., 1e300])
    scores = scores_of(data.draw(st.lists(value, min_size=n, max_size=n)))
    for name in ('cosine', 'euclidean'):
        got = SparseModeling(name).select(scores, n, x)
        assert sorted(got) == sorted(scores.ids)
        known = int((scores.values > -np.inf).sum())
        assert got[known:] == TopN().select(scores, n)[known:]


@pytest.mark.parametrize('name', ['cosine', 'euclidean'])
def test_units_do_not_matter(name):
    x, scores = pool()
    other = scores_of(1000 * scores.values, scores.tiebreak)
    assert SparseModeling(name).select(scores, 30, x) == SparseModeling(
        name).select(other, 30, x * np.float32(64))


@pytest.mark.parametrize('values', [np.zeros(6), np.full(6, -np.inf)])
def test_the_highest_scores_where_nothing_helps(values):
    scores = scores_of(values)
    x = pool()[0][:6]
    assert SparseModeling().select(scores, 4, x) == TopN().select(scores, 4)
    scores.values[:] = [1, 2, 3, 4, 5, 6]
    assert SparseModeling().select(scores, 4, 0 * x) == TopN().select(
        scores, 4)
    alike = np.full_like(x, .1)  # whose mean is rounded
    assert SparseModeling('euclidean').select(scores, 4, alike) == \
        TopN().select(scores, 4)


def test_memory_mapped_halves(tmp_path):
    x, scores = pool()
    np.save(tmp_path / 'x.npy', x.astype('f2'))
    mapped = np.load(tmp_path / 'x.npy', mmap_mode='r')
    assert SparseModeling().select(scores, 30, mapped) == \
        SparseModeling().select(scores, 30, x.astype('f2').astype('f8'))


def test_errors_say_what_is_wrong():
    x, scores = pool(n=3)
    with pytest.raises(ValueError, match="SparseModeling: distance is 'l1'"):
        SparseModeling('l1')
    with pytest.raises(ValueError, match="dtype is 'int8'"):
        SparseModeling(dtype='int8')
    with pytest.raises(ValueError, match='cannot select 4 of 3'):
        SparseModeling().select(scores, 4, x)
    with pytest.raises(ValueError, match=r'needs embeddings of shape \[3'):
        SparseModeling().select(scores, 1)
    assert SparseModeling().select(scores_of([]), 0) == []
    with pytest.raises(ValueError, match='image 1 has -2.*another selector'):
        SparseModeling().select(scores_of([1., -2., 3.]), 1, x)
    x[2, 1] = np.nan
    with pytest.raises(ValueError, match='image number 2 .* NaN'):
        SparseModeling().select(scores, 1, x)
