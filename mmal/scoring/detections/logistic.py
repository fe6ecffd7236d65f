"""Logistic regression in double precision, without scikit-learn."""
from __future__ import annotations

import numpy as np
from scipy.special import expit

_MAX_ITERS = 100
_TOLERANCE = 1e-10  # of the gradient, per row


def fit_logistic(features: np.ndarray,
                 outcomes: np.ndarray,
                 penalty: float = 1.0) -> np.ndarray:
    r"""The probability of an outcome as a logistic function of features.

    Newton's method, with steps halved until the loss falls, on

    .. math:: \sum_n \log(1 + e^{z_n}) - y_n z_n + \tfrac{\lambda}{2} |w|^2,
        \quad z_n = b + w \cdot \frac{x_n - \mu}{\sigma}

    with mean and deviation of each feature, which a constant feature does not
    have: its weight is 0. The ridge keeps w finite where a feature separates
    the outcomes.

    Args:
        features (np.ndarray): float64 [N, F].
        outcomes (np.ndarray): bool [N], of both kinds.
        penalty (float): λ, > 0; scikit-learn's default is 1.

    Returns:
        np.ndarray: float64 [1 + F], the intercept and the weights of the
        features as they are given. O(N·F²) a step.

    Raises:
        ValueError: If all outcomes are the same: b would not be finite.

    Example:
        >>> line = fit_logistic(np.array([[0.], [1.], [2.], [3.]]),
        ...                     np.array([False, True, False, True]))
        >>> bool(abs(line @ [1, 1.5]) < 1e-9)  # even odds in the middle
        True
    """
    y = np.asarray(outcomes, np.float64)
    if not 0 < y.sum() < len(y):
        raise ValueError(f'all {len(y)} outcomes are the same: a logistic '
                         'regression needs both kinds.')
    mean, scale = features.mean(0), features.std(0)
    scale = np.where(scale > 1e-12 * (1 + abs(mean)), scale, np.inf)
    x = np.column_stack([np.ones(len(y)), (features - mean) / scale])
    ridge = np.full(x.shape[1], float(penalty))
    ridge[0] = 0

    def loss(line: np.ndarray) -> float:
        z = x @ line
        return np.logaddexp(0, z).sum() - y @ z + ridge @ line**2 / 2

    line = np.zeros(x.shape[1])
    line[0] = np.log(y.mean() / (1 - y.mean()))
    for _ in range(_MAX_ITERS):
        p = expit(x @ line)
        gradient = x.T @ (p - y) + ridge * line
        if abs(gradient).max() <= _TOLERANCE * len(y):
            break
        hessian = (x.T * (p * (1 - p))) @ x + np.diag(ridge)
        step, before = np.linalg.solve(hessian, gradient), loss(line)
        while loss(line - step) > before and abs(step).max() > 1e-12:
            step = step / 2
        line = line - step
    weights = line[1:] / scale
    return np.array([line[0] - weights @ mean, *weights])
