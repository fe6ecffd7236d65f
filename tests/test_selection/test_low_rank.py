import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from mmal.selection import distances
from mmal.selection.low_rank import SIMILARITIES


def dense(name, x, rows):
    """D, entry by entry; rows that do not count are 0."""
    x = np.asarray(x, np.float64)
    if name == 'cosine':
        norms = np.linalg.norm(x, axis=1)
        x = x / np.where(norms > 0, norms, 1)[:, None]
        out = x @ x.T
    else:
        out = ((x[:, None] - x[None])**2).sum(-1)
        mean = out[np.ix_(rows, rows)].mean()
        out *= 1 / mean if mean > 0 else 0
    return out * rows[:, None]


@pytest.fixture(params=[2**22, 1], ids=['one block', 'rows'])
def block(request, monkeypatch):
    monkeypatch.setattr(distances, '_BLOCK_BYTES', request.param)


def check(name, x, rows):
    d, matrix = dense(name, x, rows), SIMILARITIES[name](x, rows)
    vectors = np.stack([matrix.vector(i) for i in range(len(x))])
    values = np.linspace(-1, 2, len(x))
    weights = np.linspace(-2, 1, matrix.rank)
    size = np.abs(d).max() * len(x)
    close = dict(rtol=1e-9, atol=1e-11 * size * max(1, size))
    np.testing.assert_allclose(vectors @ matrix.gram @ vectors.T, d.T @ d,
                               **close)
    np.testing.assert_allclose(vectors @ matrix.project(values),
                               d.T @ values, **close)
    np.testing.assert_allclose(matrix.products(weights), vectors @ weights,
                               rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(matrix.square_norms(), (d**2).sum(0), **close)


@pytest.mark.parametrize('name', SIMILARITIES)
@pytest.mark.parametrize('dtype', ['f2', 'f4', 'f8'])
def test_equals_the_dense_matrix(block, name, dtype):
    rng = np.random.default_rng(0)
    x = (rng.gamma(1, 1, (40, 5)) + 100).astype(dtype)  # far from the origin
    check(name, x, np.ones(40, bool))
    check(name, x, rng.uniform(size=40) < .7)


@settings(deadline=None, max_examples=60)
@given(
    nps.arrays('f4', st.tuples(st.integers(1, 6), st.integers(1, 4)),
               elements=st.sampled_from([0, 1, -1, .5, 3])),
    st.sampled_from(list(SIMILARITIES)), st.integers(0, 5))
def test_zeros_and_copies(x, name, index):
    rows = np.ones(len(x), bool)
    check(name, x, rows)
    if len(x) > 1:
        rows[index % len(x)] = False
        check(name, x, rows)


@pytest.mark.parametrize('name', SIMILARITIES)
def test_refuses_what_is_not_finite(name):
    x = np.ones((3, 2), 'f4')
    x[1, 0] = np.inf
    with pytest.raises(ValueError, match='image number 1 .*infinite'):
        SIMILARITIES[name](x, np.ones(3, bool))
