"""Scores of mixtures against numeric integration and draws."""
import doctest
import importlib
import math

import numpy as np
import pytest
from scipy import integrate, stats

from mmal.evaluation import (
    MixtureScores,
    gaussian_crps,
    gaussian_nll,
    interval_coverage,
    mixture_cdf,
    mixture_crps,
    mixture_nll,
)


def mixture(seed, shape=(), components=3, variables=2):
    """Truth, means, deviations and weights."""
    rng = np.random.default_rng(seed)
    size = (*shape, components, variables)
    weights = rng.dirichlet(np.ones(components), (*shape, variables))
    return (rng.normal(0, 4, (*shape, variables)), rng.normal(0, 4, size),
            rng.uniform(0.5, 3, size), np.moveaxis(weights, -1, -2))


def density(x, means, stds, weights):
    return sum(w * stats.norm.pdf(x, m, s)
               for m, s, w in zip(means, stds, weights))


def distribution(x, means, stds, weights):
    return sum(w * stats.norm.cdf(x, m, s)
               for m, s, w in zip(means, stds, weights))


def integral(function, low, high, *points):
    """With the limits split where the integrand has its peaks and jumps."""
    edges = sorted({low, high, *(p for p in points if low < p < high)})
    return sum(integrate.quad(function, a, b, limit=200)[0]
               for a, b in zip(edges, edges[1:]))


def crps_by_integral(y, *mixture):
    """The definition; sharp components need points beside their means."""
    means, stds = np.array(mixture[0]), np.array(mixture[1])
    return integral(
        lambda x: (distribution(x, *mixture) - (x >= y))**2, -60, 60, y,
        *means, *(means - 5 * stds), *(means + 5 * stds))


def cdf_by_integral(y, *mixture):
    return integral(lambda x: density(x, *mixture), -60, y, *mixture[0])


@pytest.mark.parametrize('components', [1, 2, 5])
@pytest.mark.parametrize('seed', range(3))
def test_against_numeric_integration(seed, components):
    truth, means, stds, weights = mixture(seed, components=components)
    nll = mixture_nll(truth, means, stds, weights)
    cdf = mixture_cdf(truth, means, stds, weights)
    crps = mixture_crps(truth, means, stds, weights)
    for d, y in enumerate(truth):
        one = means[:, d], stds[:, d], weights[:, d]
        assert nll[d] == pytest.approx(-math.log(density(y, *one)))
        assert cdf[d] == pytest.approx(cdf_by_integral(y, *one), abs=1e-7)
        assert crps[d] == pytest.approx(crps_by_integral(y, *one), abs=1e-6)


def test_crps_is_of_draws():
    """E|X - y| - E|X - X'| / 2."""
    truth, means, stds, weights = mixture(7, variables=1)
    rng = np.random.default_rng(0)
    k = rng.choice(3, (2, 200000), p=weights[:, 0])
    x, other = rng.normal(means[k, 0], stds[k, 0])
    expected = np.abs(x - truth).mean() - np.abs(x - other).mean() / 2
    assert mixture_crps(truth, means, stds, weights)[0] == pytest.approx(
        expected, abs=0.03)


def test_a_mixture_of_one_or_of_equals_is_a_gaussian():
    truth, means, stds, _ = mixture(0, (6, ), 1, 4)
    errors = truth - means[:, 0]
    for count in (1, 3):
        repeated = (np.repeat(x, count, 1) for x in (means, stds))
        args = (truth, *repeated, np.full((6, count, 4), 1 / count))
        np.testing.assert_allclose(mixture_nll(*args),
                                   gaussian_nll(errors, stds[:, 0]))
        np.testing.assert_allclose(mixture_crps(*args),
                                   gaussian_crps(errors, stds[:, 0]))
        scores = MixtureScores.of(*args)
        np.testing.assert_allclose(
            scores.coverage([0.3, 0.9]),
            interval_coverage(errors, stds[:, 0], [0.3, 0.9]))


@pytest.mark.parametrize('error, std', [
    (0.7, 2.0), (-5.0, 0.3), (0.0, 1e-9), (3.0, 0.0)])
def test_crps_of_a_gaussian(error, std):
    expected = crps_by_integral(error, [0.0], [max(std, 1e-3)], [1.0])
    assert gaussian_crps(error, std) == pytest.approx(expected, abs=1e-6)


def test_coverage_is_nominal_for_draws_of_the_mixture_alone():
    """Where a Gaussian of the same moments is far off."""
    rng = np.random.default_rng(0)
    n = 8000
    means = np.broadcast_to([[-5.0], [5.0]], (n, 2, 4))
    stds, weights = np.ones((n, 2, 4)), np.full((n, 2, 4), 0.5)
    truth = rng.choice([-5, 5], (n, 4)) + rng.standard_normal((n, 4))
    scores = MixtureScores.of(truth, means, stds, weights)
    levels = np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(scores.coverage(levels), levels, atol=0.012)
    total = np.full((n, 4), math.sqrt(26))
    assert interval_coverage(truth, total, [0.5]) < 0.1
    assert scores.nll.mean() < gaussian_nll(truth, total).mean() - 0.5
    assert scores.crps.mean() < gaussian_crps(truth, total).mean()


def test_the_far_and_the_sharp_stay_finite():
    truth = np.array([[1e4, -1e4, 0, 0.]])
    means, weights = np.zeros((1, 2, 4)), np.full((1, 2, 4), 0.5)
    scores = MixtureScores.of(truth, means, np.zeros((1, 2, 4)), weights)
    for values in (scores.nll, scores.crps, scores.cdf):
        assert np.isfinite(values).all()
    assert scores.crps[0] == pytest.approx([1e4, 1e4, 0, 0], abs=1e-2)
    empty = MixtureScores.join([])
    assert empty.nll.shape == (0, 4) and empty.coverage([0.5]) == 0
    joined = MixtureScores.join([scores, empty, scores])
    assert joined.crps.shape == (2, 4)


@pytest.mark.parametrize('change, message', [
    (lambda t, m, s, w: (t, m, s, 2 * w), 'do not sum to 1'),
    (lambda t, m, s, w: (t, m, s, np.nan * w), 'do not sum to 1'),
    (lambda t, m, s, w: (t, m, -s, w), 'negative'),
    (lambda t, m, s, w: (t, np.inf * m, s, w), 'not finite')])
def test_mistakes_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        mixture_nll(*change(*mixture(0)))


def test_examples():
    module = importlib.import_module('mmal.evaluation.gaussian_mixtures')
    assert doctest.testmod(module).failed == 0
