"""Ridge regression that chooses its own penalty."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_PENALTIES = np.logspace(-2, 4, 25)
_LIMIT = 4.0  # deviations: beyond them no line is known


@dataclass(frozen=True)
class Ridge:
    """A line through standardised features.

    Args:
        centre (np.ndarray): [F], the mean of each feature.
        scale (np.ndarray): [F], their deviations, above 0.
        weights (np.ndarray): [F], of the standardised features.
        intercept (float): The mean of what is predicted.
        correlation (float): Pearson's, of the values of the fit with what is
            predicted of each without it; 0 if one of them is constant.
    """
    centre: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    intercept: float
    correlation: float

    @classmethod
    def fit(cls, features: np.ndarray, values: np.ndarray) -> Ridge:
        """Fit with the penalty that predicts best what is left out.

        The errors of leaving out each row come from one decomposition for
        all penalties (Golub, Heath & Wahba, "Generalized cross-validation",
        1979, eq. 1.5): O(N F²).

        Args:
            features (np.ndarray): [N, F], N >= 2.
            values (np.ndarray): [N].
        """
        centre, scale = features.mean(0), features.std(0)
        scale = np.where(scale > 1e-12 * (1 + abs(centre)), scale, np.inf)
        x = np.clip((features - centre) / scale, -_LIMIT, _LIMIT)
        shift = x.mean(0)  # clipping has moved it
        x = x - shift
        y = values - values.mean()
        u, s, vt = np.linalg.svd(x, full_matrices=False)
        best = None
        for penalty in _PENALTIES:
            shrunk = s**2 / (s**2 + penalty)
            fitted = u @ (shrunk * (u.T @ y))
            # of the mean, which is fitted too, 1 / N
            leverage = (u**2 @ shrunk) + 1 / len(y)
            left_out = y - (y - fitted) / np.maximum(1 - leverage, 1e-6)
            error = np.square(y - left_out).sum()
            if best is None or error < best[0]:
                best = error, penalty, left_out
        _, penalty, left_out = best
        weights = vt.T @ (s / (s**2 + penalty) * (u.T @ y))
        both = y.std() * left_out.std()
        correlation = float(
            ((y - y.mean()) * (left_out - left_out.mean())).mean() / both
        ) if both else 0.
        return cls(centre, scale, weights,
                   float(values.mean() - shift @ weights), correlation)

    def predict(self, features: Tensor) -> Tensor:
        """[B] for float64 features [B, F]."""
        centre, scale, weights = (
            torch.from_numpy(a).to(features.device)
            for a in (self.centre, self.scale, self.weights))
        x = ((features - centre) / scale).clamp(-_LIMIT, _LIMIT)
        return x @ weights + self.intercept
