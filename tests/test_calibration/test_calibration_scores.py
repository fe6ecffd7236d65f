"""Functions of scores against scikit-learn, numpy and brute force."""
import sys

import numpy as np
import pytest
import torch

from mmal.calibration import METHODS, ScoreCalibrator


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def logit(p):
    return np.log(p) - np.log1p(-p)


def draw(n=600, classes=3, seed=0):
    """Scores, labels, and an IoU or 0 that another function of each class
    gives."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.05, 0.95, n).astype(np.float32).astype(float)
    labels = rng.integers(classes, size=n)
    chance = sigmoid((1 + labels) * logit(scores) + labels - 1)
    targets = (rng.uniform(size=n) < chance) * rng.uniform(0.5, 1, n)
    return scores, targets, labels


def apply(calibrator, scores, labels):
    return calibrator(torch.tensor(scores), torch.tensor(labels)).numpy()


def cross_entropy(p, t):
    return -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()


def test_temperature_has_the_least_cross_entropy():
    scores, targets, labels = draw()
    fitted = ScoreCalibrator.fit('temperature', scores, targets, labels, 3)
    grid = np.exp(np.linspace(-2, 2, 4001))
    for label in range(3):
        own = labels == label
        losses = [cross_entropy(sigmoid(logit(scores[own]) / t), targets[own])
                  for t in grid]
        found = fitted.by_class[label]['T']
        assert found == pytest.approx(grid[np.argmin(losses)], rel=2e-3)
        np.testing.assert_allclose(
            apply(fitted, scores[own], labels[own]),
            sigmoid(logit(scores[own]) / found), rtol=1e-9)
    losses = [cross_entropy(sigmoid(logit(scores) / t), targets)
              for t in grid]
    assert fitted.pooled['T'] == pytest.approx(
        grid[np.argmin(losses)], rel=2e-3)


def test_platt_is_where_the_gradient_is_zero():
    """Of the cross entropy with soft targets, by autograd."""
    scores, targets, labels = draw()
    fitted = ScoreCalibrator.fit('platt', scores, targets, labels, 3)
    for label in range(3):
        own = labels == label
        ab = torch.tensor([fitted.by_class[label][k] for k in 'ab'],
                          dtype=torch.float64, requires_grad=True)
        z, t = torch.tensor(logit(scores[own])), torch.tensor(targets[own])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            ab[0] * z + ab[1], t)
        loss.backward()
        assert ab.grad.abs().max() < 1e-5
        np.testing.assert_allclose(
            apply(fitted, scores[own], labels[own]),
            sigmoid((ab[0] * z + ab[1]).detach().numpy()), rtol=1e-9)


def pool_adjacent(scores, targets):
    """Isotonic regression by its min-max formula."""
    order = np.argsort(scores)
    sums = np.concatenate([[0], np.cumsum(targets[order])])
    n = len(scores)
    means = np.array([[(sums[j + 1] - sums[i]) / (j + 1 - i) if j >= i
                       else np.inf for j in range(n)] for i in range(n)])
    values = np.empty(n)
    for k in range(n):
        values[order[k]] = max(means[i, k:].min() for i in range(k + 1))
    return values


def test_isotonic_is_the_min_max_formula_between_knots_and_at_them():
    scores, targets, labels = draw(300, 2)
    fitted = ScoreCalibrator.fit('isotonic', scores, targets, labels, 2)
    for label in range(2):
        own = labels == label
        expected = pool_adjacent(scores[own], targets[own])
        np.testing.assert_allclose(
            apply(fitted, scores[own], labels[own]),
            0.999 * expected + 0.001 * scores[own], atol=1e-9)
    # anywhere, several classes at once
    anywhere, labels = np.linspace(0, 1, 501), np.arange(501) % 2
    knots = fitted.by_class
    expected = [np.interp(s, knots[c]['scores'], knots[c]['values'])
                for s, c in zip(anywhere, labels)]
    np.testing.assert_allclose(
        apply(fitted, anywhere, labels),
        0.999 * np.array(expected) + 0.001 * anywhere, atol=1e-9)


@pytest.mark.parametrize('method', METHODS)
def test_the_order_within_a_class_stays(method):
    scores, targets, labels = draw(2000)
    fitted = ScoreCalibrator.fit(method, scores, targets, labels, 3)
    grid = torch.linspace(0, 1, 2001)
    for label in range(3):
        values = fitted(grid, torch.full((2001, ), label))
        assert values.dtype == torch.float32
        assert (values.diff() > 0)[5:-5].all() and (values.diff() >= 0).all()
        assert 0 <= values.min() and values.max() <= 1


@pytest.mark.parametrize('method', METHODS)
def test_a_class_with_few_detections_gets_the_function_of_all(method):
    scores, targets, labels = draw(900)
    labels[labels == 2] = 1
    labels[:20], targets[20:40], labels[20:60] = 2, 0, 3
    targets[labels == 3] = 0  # nothing found: cannot be fitted alone
    fitted = ScoreCalibrator.fit(method, scores, targets, labels, 5, 30)
    assert [own is None for own in fitted.by_class] == [
        False, False, True, True, True]
    pooled = ScoreCalibrator(method, fitted.pooled, [None])
    np.testing.assert_array_equal(
        apply(fitted, scores[:20], labels[:20]),
        apply(pooled, scores[:20], np.zeros(20, int)))


def test_platt_does_not_turn_the_order_round():
    scores, targets, labels = draw(900, 1)
    targets[:100], labels[:100] = 1 - scores[:100], 1
    fitted = ScoreCalibrator.fit('platt', scores, targets, labels, 2)
    assert fitted.by_class[1] is None and fitted.pooled['a'] > 0


@pytest.mark.parametrize('method', METHODS)
def test_a_state_is_the_calibrator(method):
    scores, targets, labels = draw()
    fitted = ScoreCalibrator.fit(method, scores, targets, labels, 4)
    same = ScoreCalibrator.from_state(fitted.state())
    np.testing.assert_array_equal(apply(fitted, scores, labels),
                                  apply(same, scores, labels))
    empty = fitted(torch.zeros(0), torch.zeros(0, dtype=torch.long))
    assert empty.shape == (0, )


@pytest.mark.parametrize('method, numbers', [
    ('isotonic', dict(scores=[0.1, 0.1], values=[0.1, 0.2])),
    ('isotonic', dict(scores=[0.1, 0.2], values=[0.2, 0.1])),
    ('isotonic', dict(scores=[0.1, 0.2], values=[0.2, 1.1])),
    ('isotonic', dict(scores=[0.1], values=[0.1, 0.2])),
    ('isotonic', dict(scores=[], values=[])),
    ('platt', dict(a=-1, b=0)), ('platt', dict(a=1)),
    ('platt', dict(a=1, b=float('nan'))), ('temperature', dict(T=0)),
    ('temperature', dict(a=1, b=1)), ('beta', dict(T=1))])
def test_wrong_numbers_are_refused(method, numbers):
    with pytest.raises(ValueError, match='calibration: '):
        ScoreCalibrator(method, numbers, [None])


def test_detections_that_cannot_be_fitted_are_refused():
    for targets in (np.zeros(5), np.ones(5)):
        with pytest.raises(ValueError, match='5 detections cannot be fitted'):
            ScoreCalibrator.fit('isotonic', np.linspace(0, 1, 5), targets,
                                np.zeros(5, int), 1)
    with pytest.raises(ValueError, match='a score is not in'):
        ScoreCalibrator.fit('platt', [1.2], [1], [0], 1)
    with pytest.raises(ValueError, match='a label is not one of the 1'):
        ScoreCalibrator.fit('platt', [.2, .3], [1, 0], [0, 1], 1)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'sklearn.isotonic', None)
    with pytest.raises(ImportError, match=r'mmdet-al\[calibration\]'):
        ScoreCalibrator.fit('isotonic', *draw(), 3)
    # temperatures need none
    monkeypatch.setitem(sys.modules, 'sklearn.linear_model', None)
    ScoreCalibrator.fit('temperature', *draw(), 3)
