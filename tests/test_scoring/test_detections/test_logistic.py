"""Newton's method against a general optimiser."""
import doctest

import numpy as np
import pytest
from scipy.optimize import minimize

from mmal.scoring.detections import logistic
from mmal.scoring.detections.logistic import fit_logistic


def by_scipy(features, outcomes, penalty):
    """Intercept and weights of the features as given."""
    mean, scale = features.mean(0), features.std(0)
    x = (features - mean) / scale

    def loss(line):
        total = penalty * sum(w * w for w in line[1:]) / 2
        for row, y in zip(x, outcomes):
            z = line[0] + row @ line[1:]
            total += np.logaddexp(0, -z if y else z)
        return total

    line = minimize(loss, np.zeros(x.shape[1] + 1), method='BFGS',
                    options=dict(gtol=1e-9)).x
    weights = line[1:] / scale
    return [line[0] - weights @ mean, *weights]


def rows(seed, number):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 300, number).astype(float)
    scores = rng.uniform(size=number)
    chance = 1 / (1 + np.exp(-(4 * scores - 2 + .01 * (counts - 150))))
    right = rng.uniform(size=number) < chance
    right[:2] = True, False
    return np.column_stack([counts, scores]), right


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('number, penalty', [(2, 1), (12, .1), (80, 1)])
def test_equals_an_optimiser(seed, number, penalty):
    features, right = rows(seed, number)
    line = fit_logistic(features, right, penalty)
    truth = by_scipy(features, right, penalty)
    z, z_truth = (b[0] + features @ b[1:] for b in (line, np.array(truth)))
    np.testing.assert_allclose(z, z_truth, atol=1e-5)
    np.testing.assert_allclose(line[1:], truth[1:], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize('penalty', [1e-6, 1])
def test_separable_outcomes_stay_finite(penalty):
    features = np.arange(40.)[:, None]
    right = features[:, 0] >= 20
    z = (np.c_[np.ones(40), features] @ fit_logistic(
        features, right, penalty))
    assert np.isfinite(z).all() and ((z > 0) == right).all()


def test_a_constant_feature_has_no_weight():
    features, right = rows(0, 30)
    constant = np.column_stack([features, np.full(30, 1e6)])
    line = fit_logistic(constant, right)
    assert line[-1] == 0
    np.testing.assert_allclose(line[:-1], fit_logistic(features, right),
                               rtol=1e-9)


def test_one_kind_of_outcome_is_an_error():
    with pytest.raises(ValueError, match='all 3 outcomes are the same'):
        fit_logistic(np.eye(3), np.ones(3, bool))


def test_examples():
    assert doctest.testmod(logistic).failed == 0
