import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from scipy.optimize import lsq_linear

from mmal.selection.box_least_squares import BoxLeastSquares, one_step_gains


def objective(a, x, b):
    return ((a @ x - b)**2).sum()


def solver(a, b):
    """Columns known by their numbers: v_k is the k-th unit vector."""
    return BoxLeastSquares(a.T @ a, a.T @ b, float(b @ b), 1e-14)


def check(a, b):
    fit, added = solver(a, b), []
    for k in range(a.shape[1]):
        if fit.add(np.eye(a.shape[1])[k]):
            added.append(k)
        if not added:
            continue
        part = a[:, added]
        best = lsq_linear(part, b, (0, 1), 'bvls', tol=1e-14).x
        assert fit.x.min() >= 0 and fit.x.max() <= 1
        slack = 1e-9 * max(1, b @ b)
        assert objective(part, fit.x, b) <= objective(part, best, b) + slack
        np.testing.assert_allclose(
            fit.residual, a.T @ (b - part @ fit.x),
            atol=1e-9 * max(1, np.abs(a.T @ b).max()))
    return fit


@pytest.mark.parametrize('seed', range(12))
@pytest.mark.parametrize('scale', [.1, 1, 20])
def test_equals_another_solver_after_each_column(seed, scale):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((12, 10)) + rng.integers(0, 3)
    fit = check(a, scale * rng.standard_normal(12) + 2 * a[:, :4].sum(1))
    assert len(fit.x) == 10


@pytest.mark.parametrize('seed', range(8))
@pytest.mark.parametrize('upper', [.4, 3., np.inf])
@pytest.mark.parametrize('ridge', [0., .5])
def test_other_bounds_and_a_ridge(seed, upper, ridge):
    """The penalty as rows of their own."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((12, 9)) + .5
    b = 2 * rng.standard_normal(12) + a[:, :4].sum(1)
    fit = BoxLeastSquares(a.T @ a, a.T @ b, float(b @ b), 1e-14, upper, ridge)
    for k in range(9):
        assert fit.add(np.eye(9)[k])
        penalised = np.vstack([a[:, :k + 1], ridge**.5 * np.eye(k + 1)])
        best = lsq_linear(penalised, np.r_[b, np.zeros(k + 1)], (0, upper),
                          'bvls', tol=1e-14).x
        np.testing.assert_allclose(fit.x, best, atol=1e-7)


@settings(deadline=None, max_examples=100)
@given(
    nps.arrays('f8', st.tuples(st.integers(1, 5), st.integers(1, 6)),
               elements=st.integers(-2, 2)),
    nps.arrays('f8', 5, elements=st.integers(-9, 9)))
def test_columns_that_depend_on_others(a, b):
    check(a, b[:len(a)])


def test_a_dependent_column_changes_nothing():
    a = np.array([[1., 0, 1], [0, 1, 1]])
    fit = solver(a, np.array([.3, .4]))
    eye = np.eye(3)
    assert fit.add(eye[0]) and fit.add(eye[1])
    assert not fit.add(eye[2]) and not fit.add(np.zeros(3))
    np.testing.assert_allclose(fit.x, [.3, .4])


def test_gain_of_one_step():
    rng = np.random.default_rng(0)
    r, d = rng.standard_normal(4), rng.standard_normal((4, 50))
    d[:, 0] = 0
    got = one_step_gains(torch.from_numpy(d.T @ r),
                         torch.from_numpy((d**2).sum(0))).numpy()
    t = np.linspace(0, 1, 2001)
    lowest = ((r[:, None, None] - d[:, :, None] * t)**2).sum(0).min(1)
    np.testing.assert_allclose(got, r @ r - lowest, atol=1e-5)
    assert got[0] == 0 and (got > 0).any() and (got == 0).sum() > 5
