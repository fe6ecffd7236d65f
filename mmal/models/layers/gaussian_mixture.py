"""Gaussian mixtures of any number of components as one object."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mmal.uncertainty import (
    aleatoric,
    at_least_float32,
    epistemic,
    mixture_mean,
)

MIN_VARIANCE = 1e-7
_MIN_LOGIT = math.log(MIN_VARIANCE / (1 - MIN_VARIANCE))
_FAR, _FAR_SIGMAS = 1e6, 1e9


@dataclass(eq=False)
class GaussianMixture:
    """Independent one-dimensional mixtures of K Gaussians.

    Tensors of lower precision become float32.

    Args:
        means (Tensor): [..., K, D].
        variances (Tensor): [..., K, D], positive.
        log_weights (Tensor): [..., K, D], or [..., K, 1] where the D
            variables share their weights. Sums to 1 over K after exp.

    Raises:
        ValueError: If the shapes do not fit, or K is 0.

    Example:
        >>> import torch
        >>> raw = torch.zeros(5, 2, 4)
        >>> mixture = GaussianMixture.from_raw(raw, raw, raw)
        >>> mixture[:3].aleatoric.shape
        torch.Size([3, 4])
    """
    means: Tensor
    variances: Tensor
    log_weights: Tensor

    def __post_init__(self) -> None:
        self.means = at_least_float32(self.means)
        self.variances = at_least_float32(self.variances)
        self.log_weights = at_least_float32(self.log_weights)
        shape, weights = self.means.shape, self.log_weights.shape
        if not (len(shape) >= 2 and shape[-2] >= 1
                and self.variances.shape == shape
                and weights in (shape, (*shape[:-1], 1))):
            raise ValueError(
                f'a mixture got means {tuple(shape)}, variances '
                f'{tuple(self.variances.shape)} and weights {tuple(weights)}: '
                'give [..., K, D] for each, or [..., K, 1] for the weights, '
                'with K >= 1.')

    @classmethod
    def from_raw(cls, means: Tensor, variance_logits: Tensor,
                 weight_logits: Tensor) -> GaussianMixture:
        """The mixture of raw head outputs (MDN, eq. 2).

        Args:
            means (Tensor): [..., K, D].
            variance_logits (Tensor): [..., K, D].
            weight_logits (Tensor): [..., K, D] or [..., K, 1].

        Returns:
            GaussianMixture: Variances are in [1e-7, 1].
        """
        weights = at_least_float32(weight_logits)
        return cls(means, variances_of(variance_logits),
                   weights.log_softmax(dim=-2))

    @property
    def num_components(self) -> int:
        """K."""
        return self.means.shape[-2]

    @property
    def weights(self) -> Tensor:
        """[..., K, D] or [..., K, 1], summing to 1 over K."""
        return self.log_weights.exp()

    @property
    def mean(self) -> Tensor:
        """[..., D] (MDN, eq. 7)."""
        return mixture_mean(self.weights, self.means)

    @property
    def aleatoric(self) -> Tensor:
        """[..., D] (MDN, eq. 1): the mean variance."""
        return aleatoric(self.weights, self.variances)

    @property
    def epistemic(self) -> Tensor:
        """[..., D] (MDN, eq. 1): the variance of the means."""
        return epistemic(self.weights, self.means)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density of each variable.

        Args:
            x (Tensor): [..., D].

        Returns:
            Tensor: [..., D]. Distances over 1e6 (or 1e9 standard
            deviations) count as that much, which keeps gradients finite.
        """
        scale = self.variances.sqrt()
        return self.mixed(log_gaussian(x, self.means, scale, scale))

    def mixed(self, log_densities: Tensor) -> Tensor:
        """Log of the weighted sum of component densities.

        Args:
            log_densities (Tensor): [..., K, D].

        Returns:
            Tensor: [..., D].
        """
        # in the log domain: far from all components each density is 0
        return (self.log_weights + log_densities).logsumexp(dim=-2)

    def __getitem__(self, index: Any) -> GaussianMixture:
        """The mixtures at an index into the leading dimensions."""
        return GaussianMixture(self.means[index], self.variances[index],
                               self.log_weights[index])


def variances_of(logits: Tensor) -> Tensor:
    """Sigmoid, at least 1e-7, in float32 or better; any shape."""
    return at_least_float32(logits).clamp(min=_MIN_LOGIT).sigmoid()


def log_gaussian(x: Tensor, means: Tensor, scale: Tensor,
                 normaliser: Tensor) -> Tensor:
    """-((x - mean) / scale)^2 / 2 - log(normaliser sqrt(2 pi)).

    The log density of a Gaussian where scale and normaliser are both its
    standard deviation. Far points are brought in (to a distance of 1e6 and
    1e9 scales), so that no derivative overflows.

    Args:
        x (Tensor): [..., D].
        means (Tensor): [..., K, D].
        scale (Tensor): [..., K, D], positive.
        normaliser (Tensor): [..., K, D], positive.

    Returns:
        Tensor: [..., K, D].
    """
    # The first clamp keeps the slope by the scale finite, distance / scale^2,
    # the second one the square.
    distance = at_least_float32(x).unsqueeze(-2) - means
    z = distance.clamp(-_FAR, _FAR) / scale
    half = z.clamp(-_FAR_SIGMAS, _FAR_SIGMAS).square() / 2
    return -half - normaliser.log() - math.log(2 * math.pi) / 2
