"""How well Gaussian mixtures of one variable foretell a number.

NLL, CRPS and CDF of mixtures. The continuous ranked probability score is the
integral of (F(x) - 1[x >= y])² over x, in the unit of the variable; in closed
form it is that of Grimit, Gneiting, Berrocal and Johnson, "The Continuous
Ranked Probability Score for Circular Variables and its Application to
Mesoscale Forecast Ensemble Verification" (2006).
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .calibration import check_gaussians, check_levels
from .joined import JoinedArrays, no_rows


@dataclass
class MixtureScores(JoinedArrays):
    """How well mixtures foretold the coordinates of m boxes.

    Args:
        nll (np.ndarray): float64 [m, 4], of x1, y1, x2, y2, in nats.
        crps (np.ndarray): float64 [m, 4], in pixels.
        cdf (np.ndarray): float64 [m, 4] in [0, 1], F(truth).
    """
    nll: np.ndarray = no_rows(4)
    crps: np.ndarray = no_rows(4)
    cdf: np.ndarray = no_rows(4)

    @classmethod
    def of(cls, truth: np.ndarray, means: np.ndarray, stds: np.ndarray,
           weights: np.ndarray) -> MixtureScores:
        """Compare mixtures with the truth.

        Args:
            truth (np.ndarray): [m, 4], pixels.
            means (np.ndarray): [m, J, 4], pixels.
            stds (np.ndarray): [m, J, 4], pixels.
            weights (np.ndarray): [m, J, 4], summing to 1 over J.

        Raises:
            ValueError: See :func:`mixture_nll`.
        """
        args = (truth, means, stds, weights)
        return cls(mixture_nll(*args), mixture_crps(*args),
                   mixture_cdf(*args))

    def coverage(self, levels: Sequence[float]) -> np.ndarray:
        """How often central intervals of the mixtures hold the truth.

        The interval of level p lies between the quantiles (1 - p) / 2 and
        (1 + p) / 2, so the truth is inside if |2F(truth) - 1| <= p.

        Args:
            levels (sequence[float]): L nominal coverages in (0, 1).

        Returns:
            np.ndarray: float64 [L] in [0, 1]; 0 without boxes.

        Raises:
            ValueError: If a level is not in (0, 1).
        """
        check_levels(levels)
        depth = np.sort(np.abs(2 * self.cdf - 1), axis=None)
        return np.searchsorted(depth, levels, side='right') / max(
            len(depth), 1)


def mixture_nll(truth: np.ndarray, means: np.ndarray, stds: np.ndarray,
                weights: np.ndarray) -> np.ndarray:
    """-log sum_j w_j N(truth; mean_j, std_j²).

    Args:
        truth (np.ndarray): [..., D].
        means (np.ndarray): [..., J, D].
        stds (np.ndarray): [..., J, D]; below 0.001 they count as that.
        weights (np.ndarray): [..., J, D], summing to 1 over J.

    Returns:
        np.ndarray: float64 [..., D], in nats.

    Raises:
        ValueError: If a number is not finite, a std or weight negative, or
            weights do not sum to 1.

    Examples:
        >>> mixture_nll([0.], [[-1.], [1.]], [[1.], [1.]], [[.5], [.5]])
        array([1.41893853])
    """
    from scipy.special import logsumexp  # takes a moment to import

    errors, stds, weights = _components(truth, means, stds, weights)
    log_density = -(errors / stds)**2 / 2 - np.log(stds)
    # in the log domain: far from all components each density is 0
    return math.log(2 * math.pi) / 2 - logsumexp(log_density, -2, weights)


def mixture_cdf(truth: np.ndarray, means: np.ndarray, stds: np.ndarray,
                weights: np.ndarray) -> np.ndarray:
    """F(truth) of mixtures, uniform in [0, 1] if they are right.

    Args:
        truth (np.ndarray): [..., D].
        means (np.ndarray): [..., J, D].
        stds (np.ndarray): [..., J, D]; below 0.001 they count as that.
        weights (np.ndarray): [..., J, D], summing to 1 over J.

    Returns:
        np.ndarray: float64 [..., D] in [0, 1].

    Raises:
        ValueError: See :func:`mixture_nll`.

    Examples:
        >>> mixture_cdf([0.], [[-1.], [1.]], [[1.], [1.]], [[.5], [.5]])
        array([0.5])
    """
    from scipy.special import ndtr

    errors, stds, weights = _components(truth, means, stds, weights)
    return (weights * ndtr(errors / stds)).sum(-2).clip(0, 1)


def mixture_crps(truth: np.ndarray, means: np.ndarray, stds: np.ndarray,
                 weights: np.ndarray) -> np.ndarray:
    """CRPS of mixtures (Grimit 2006), 0 for what is sure and right.

    E|X - truth| - E|X - X'| / 2 with X and X' two draws of the mixture.

    Args:
        truth (np.ndarray): [..., D].
        means (np.ndarray): [..., J, D].
        stds (np.ndarray): [..., J, D]; below 0.001 they count as that.
        weights (np.ndarray): [..., J, D], summing to 1 over J.

    Returns:
        np.ndarray: float64 [..., D] >= 0, in the unit of ``truth``.

    Raises:
        ValueError: See :func:`mixture_nll`.

    Examples:
        >>> mixture_crps([3.], [[1.]], [[1e-3]], [[1.]]).round(3)
        array([1.999])
    """
    errors, stds, weights = _components(truth, means, stds, weights)
    to_truth = (weights * _mean_abs(errors, stds)).sum(-2)
    # all pairs of components: [..., J, J, D]
    first, second = np.s_[..., :, None, :], np.s_[..., None, :, :]
    distance = _mean_abs(errors[first] - errors[second],
                         np.hypot(stds[first], stds[second]))
    within = (weights[first] * weights[second] * distance).sum((-3, -2))
    return (to_truth - within / 2).clip(0)


def gaussian_crps(errors: np.ndarray, stds: np.ndarray) -> np.ndarray:
    """CRPS of Gaussians, a mixture of one.

    Args:
        errors (np.ndarray): True minus predicted, any shape, pixels.
        stds (np.ndarray): Of the prediction, the same shape; below 0.001
            pixels they count as that.

    Returns:
        np.ndarray: float64 >= 0, in pixels.

    Raises:
        ValueError: If an error or a std is not finite, or a std is negative.

    Examples:
        >>> gaussian_crps([0.0], [2.0]).round(4)
        array([0.4674])
    """
    errors, stds = check_gaussians(errors, stds)
    return (_mean_abs(errors, stds) - stds / math.sqrt(math.pi)).clip(0)


def _mean_abs(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """E|X| of a Gaussian."""
    from scipy.special import ndtr

    z = mean / std
    density = np.exp(-z**2 / 2) / math.sqrt(2 * math.pi)
    return 2 * std * density + mean * (2 * ndtr(z) - 1)


def _components(truth: np.ndarray, means: np.ndarray, stds: np.ndarray,
                weights: np.ndarray
                ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth minus means, standard deviations and weights, checked."""
    truth, means, weights = (np.asarray(x, dtype=np.float64)
                             for x in (truth, means, weights))
    errors, stds = check_gaussians(truth[..., None, :] - means, stds)
    total = weights.sum(-2)
    # the limit leaves room for weights that were rounded to half precision
    if (weights < 0).any() or not np.abs(total - 1).max(initial=0) < 0.02:
        raise ValueError(
            'calibration: the weights of a mixture are negative or do not sum '
            'to 1: look at box_mixture_weights of the detections.')
    return errors, stds, weights / total[..., None, :]
