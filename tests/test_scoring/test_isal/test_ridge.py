"""The regression against its definition: one fit for each row left out."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.scoring.isal.ridge import _LIMIT, _PENALTIES, Ridge


def standardised(features):
    scale = features.std(0)
    scale = np.where(scale > 1e-12 * (1 + abs(features.mean(0))), scale,
                     np.inf)
    return np.clip((features - features.mean(0)) / scale, -_LIMIT, _LIMIT)


def solve(x, y, penalty):
    """Weights and intercept, which is not penalised, of a plain ridge."""
    centre = x.mean(0)
    a = (x - centre).T @ (x - centre) + penalty * np.eye(x.shape[1])
    weights = np.linalg.solve(a, (x - centre).T @ (y - y.mean()))
    return weights, y.mean() - centre @ weights


def left_out(x, y, penalty):
    """What each row is predicted to be by the others."""
    found = []
    for n in range(len(y)):
        rest = np.arange(len(y)) != n
        weights, intercept = solve(x[rest], y[rest], penalty)
        found.append(x[n] @ weights + intercept)
    return np.array(found)


@settings(max_examples=20, deadline=None)
@given(st.integers(8, 40), st.integers(1, 6), st.integers(0, 10**6))
def test_the_penalty_is_the_one_that_predicts_left_out_rows_best(
        rows, columns, seed):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(rows, columns)) * 10 + 3
    values = features @ generator.normal(size=columns) + \
        generator.normal(size=rows) * 20
    x = standardised(features)
    errors = [np.square(values - left_out(x, values, p)).sum()
              for p in _PENALTIES]
    best = _PENALTIES[int(np.argmin(errors))]
    weights, intercept = solve(x, values, best)
    ridge = Ridge.fit(features, values)
    np.testing.assert_allclose(
        ridge.predict(torch.from_numpy(features)).numpy(),
        x @ weights + intercept, rtol=1e-6, atol=1e-6)
    truth = left_out(x, values, best)
    assert ridge.correlation == pytest.approx(
        np.corrcoef(values, truth)[0, 1], abs=1e-6)


def test_a_line_without_noise_is_found():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(200, 3)) * [1, 10, 100]
    values = features @ [3., .2, -.01] + 5
    ridge = Ridge.fit(features, values)
    found = ridge.predict(torch.from_numpy(features)).numpy()
    assert np.abs(found - values).max() < 0.02 * values.std()
    assert ridge.correlation > 0.999


def test_constant_features_and_values_say_nothing():
    features = np.ones((20, 2))
    ridge = Ridge.fit(features, np.full(20, 7.))
    assert ridge.correlation == 0
    far = torch.full((1, 2), 1e6, dtype=torch.float64)
    assert float(ridge.predict(far)) == 7


def test_far_features_are_not_extrapolated():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(100, 1))
    ridge = Ridge.fit(features, features[:, 0])
    near, far = ridge.predict(torch.tensor([[10.], [1e9]],
                                           dtype=torch.float64))
    assert float(near) == float(far)
