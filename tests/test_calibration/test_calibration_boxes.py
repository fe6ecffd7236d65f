"""Conformal boxes by brute force and by simulated exchangeability."""
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from mmal.calibration import (
    RULES,
    ConformalBoxes,
    conformal_quantile,
    coverage_band,
    highest_level,
)


def brute_quantile(values, level):
    """The smallest value that enough of n + 1 are not above, inf counted."""
    level = Fraction(str(level))
    for v in sorted(values):
        if Fraction(sum(w <= v for w in values), len(values) + 1) >= level:
            return v
    return math.inf


@pytest.mark.parametrize('level', [0.5, 0.9, 0.95, 0.975])
@pytest.mark.parametrize('n', [1, 8, 9, 10, 19, 39, 40, 100])
def test_quantiles_are_the_smallest_that_hold(n, level):
    values = np.random.default_rng(n).exponential(size=(n, 2))
    assert conformal_quantile(values, level).tolist() == [
        brute_quantile(column, level) for column in values.T]


def draw(rng, n, classes=2):
    """Errors that go together, wider for class 1, and their deviations."""
    labels = rng.integers(classes, size=n)
    stds = rng.uniform(1, 4, (n, 4)) * (1 + 2 * labels[:, None])
    shared = rng.standard_normal((n, 1))
    errors = stds * (0.8 * shared + 0.6 * rng.standard_t(4, (n, 4)))
    return errors, labels, stds


def inside(fitted, errors, labels, stds):
    margins = fitted.margins(torch.tensor(labels), torch.tensor(stds))
    return np.abs(errors) <= margins.numpy()


@pytest.mark.parametrize('scaled', [False, True])
@pytest.mark.parametrize('rule', ['box', 'coordinate'])
def test_coverage_over_many_fits_has_the_beta_distribution(rule, scaled):
    """Of one class, n = 99: a Kolmogorov-Smirnov test over 300 fits."""
    rng = np.random.default_rng(0)
    truth = draw(rng, 20000, 1)
    coverages = []
    for _ in range(300):
        errors, labels, stds = draw(rng, 99, 1)
        fitted = ConformalBoxes.fit(errors, labels, 1,
                                    stds if scaled else None, 0.9, rule)
        covered = inside(fitted, *truth)
        coverages.append(covered.all(1).mean() if rule == 'box'
                         else covered[:, 0].mean())
    # the 90th smallest of 99: Beta(90, 10)
    assert kstest(coverages, 'beta', (90, 10)).pvalue > 0.01
    low, high = coverage_band(99, 0.9, 20000)
    share = np.mean([low <= c <= high for c in coverages])
    assert 0.91 < share < 0.99
    assert np.mean(coverages) == pytest.approx(0.9, abs=3 * 0.03 / 300**.5)


def test_each_class_is_covered_and_pooled_ones_only_together():
    rng = np.random.default_rng(1)
    data, truth = draw(rng, 4000), draw(rng, 40000)
    of_class = [truth[1] == label for label in range(2)]
    own = ConformalBoxes.fit(*data[:2], 2)
    pooled = ConformalBoxes.fit(*data[:2], 2, min_count=10**6)
    own, pooled = (inside(f, *truth).all(1) for f in (own, pooled))
    for label in of_class:
        assert own[label].mean() == pytest.approx(0.9, abs=0.03)
    assert pooled.mean() == pytest.approx(0.9, abs=0.03)
    assert pooled[of_class[0]].mean() > 0.97
    assert pooled[of_class[1]].mean() < 0.85


def test_bonferroni_holds_and_is_wider():
    rng = np.random.default_rng(2)
    # edges that are wrong together
    errors = rng.multivariate_normal(
        np.zeros(4), 0.1 * np.eye(4) + 0.9, 44000)
    labels = np.zeros(44000, int)
    data, truth = (errors[:4000], labels[:4000]), (errors[4000:],
                                                   labels[4000:])
    box, bonferroni, each = (
        ConformalBoxes.fit(*data, 1, level=0.9, rule=rule)
        for rule in ('box', 'bonferroni', 'coordinate'))
    for fitted, least, most in ((box, .88, .92), (bonferroni, .93, .97),
                                (each, .75, .87)):
        assert least < inside(fitted, *truth, errors[4000:]
                              ).all(1).mean() < most
    assert np.mean(bonferroni.pooled) > np.mean(box.pooled) > np.mean(
        each.pooled)


def test_the_quantiles_by_hand():
    rng = np.random.default_rng(3)
    errors, labels, stds = draw(rng, 300, 3)
    labels[labels == 2] = 1
    labels[:5] = 2
    largest = np.abs(errors).max(1)
    fitted = ConformalBoxes.fit(errors, labels, 4, level=0.8, min_count=6)
    assert fitted.pooled == [brute_quantile(largest, 0.8)] * 4
    assert fitted.by_class == [
        [brute_quantile(largest[labels == 0], 0.8)] * 4,
        [brute_quantile(largest[labels == 1], 0.8)] * 4, None, None]
    scaled = ConformalBoxes.fit(errors, labels, 4, stds, 0.8, 'bonferroni')
    assert scaled.pooled == [brute_quantile(column, 0.95)
                             for column in (np.abs(errors) / stds).T]
    # few, but enough for a low level; too few for a high one
    few = errors[:7], np.zeros(7, int), 1
    assert ConformalBoxes.fit(*few, level=0.8, min_count=1).by_class[0]
    with pytest.raises(ValueError, match='7 detections .* level 0.9.* 0.875'):
        ConformalBoxes.fit(*few, level=0.9)
    for rule in RULES:
        highest = highest_level(7, rule)
        ConformalBoxes.fit(*few, level=highest, rule=rule)
        with pytest.raises(ValueError, match='too few'):
            ConformalBoxes.fit(*few, level=highest + 1e-6, rule=rule)


def test_margins_are_pixels_of_the_image_that_boxes_are_given_in():
    fitted = ConformalBoxes(0.9, 'coordinate', False, [1, 2, 3, 4],
                            [None, [5, 6, 7, 8]])
    labels = torch.tensor([1, 0])
    assert fitted.margins(labels, scale=(2, 0.5)).tolist() == [
        [10, 3, 14, 4], [2, 1, 6, 2]]
    scaled = ConformalBoxes.from_state(
        dict(fitted.state(), scaled=True))
    stds = torch.tensor([[1.0, 1, 1, 1], [0, 2, 2, 2]])
    torch.testing.assert_close(
        scaled.margins(labels, stds),
        torch.tensor([[5.0, 6, 7, 8], [0.001, 4, 6, 8]]))
    with pytest.raises(ValueError, match='box_std, which this detector'):
        scaled.margins(labels)


@pytest.mark.parametrize('change', [
    dict(level=1), dict(rule='max'), dict(pooled=[1, 2, 3]),
    dict(pooled=[1, 2, 3, -1]), dict(by_class=[[1, 2, 3, float('inf')]])])
def test_wrong_numbers_are_refused(change):
    good = dict(level=0.9, rule='box', scaled=False, pooled=[1, 2, 3, 4],
                by_class=[None])
    with pytest.raises(ValueError, match='calibration: '):
        ConformalBoxes(**{**good, **change})
