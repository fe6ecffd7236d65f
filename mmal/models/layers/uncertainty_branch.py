"""Bayesian convolutions in a row, beside the last layer of a head."""
from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor, nn

from mmal.uncertainty import at_least_float32, rectified_moments
from .bayes_conv import BayesConv2d

Moments = tuple[Tensor, Optional[Tensor]]
_TINY = 1e-12  # keeps the gradient of a square root finite


class UncertaintyBranch(nn.ModuleList):
    """Convolutions in a row that give each logit a mean and a deviation.

    Behind several Bayesian layers the deviation is that of all of them, by
    the law of total variance: with E[h] and Var[h] of the rectified inputs of
    a layer (:func:`mmal.uncertainty.rectified_moments`) its outputs
    have the variance k^2 * Var[h] + lambda k^2 * E[h^2]. That is exact for
    two layers whose hidden values are independent, as those of eq. 1 are.

    Args:
        in_channels (int): Channels of the maps it reads.
        out_channels (int): Logits at each position.
        layers (int): Convolutions in a row, each but the last followed by a
            ReLU, >= 1.
        channels (int): Width between them, >= 1.
        kernel_size (int): Of each, odd.
        scale (float): Lambda of each :class:`BayesConv2d`, > 0.
        learn_scale (bool): Whether each learns it.
        samples (int): K of each, >= 1.
        bayes (bool): False makes plain convolutions without a deviation.

    Example:
        >>> branch = UncertaintyBranch(4, 2, layers=3)
        >>> mean, std = branch(torch.zeros(1, 4, 5, 5))
        >>> tuple(mean.shape), tuple(std.shape)
        ((1, 2, 5, 5), (1, 2, 5, 5))
    """

    def __init__(self,
                 in_channels: int,
                 out_channels: int,
                 layers: int = 1,
                 channels: int = 64,
                 kernel_size: int = 1,
                 scale: float = 0.1,
                 learn_scale: bool = False,
                 samples: int = 1,
                 bayes: bool = True) -> None:
        bayesian = dict(scale=scale, learn_scale=learn_scale, samples=samples)
        conv, options = (BayesConv2d, bayesian) if bayes else (nn.Conv2d, {})
        widths = [in_channels, *[channels] * (layers - 1), out_channels]
        super().__init__(
            conv(a, b, kernel_size, padding=kernel_size // 2, **options)
            for a, b in zip(widths, widths[1:]))
        self.bayes = bayes

    def forward(self, x: Tensor) -> Moments:
        """The moments of the logits; draws no random number.

        Args:
            x (Tensor): [B, in_channels, H, W].

        Returns:
            tuple[Tensor, Tensor | None]: Mean and standard deviation
            [B, out_channels, H, W], float32 or better; no deviation of a
            plain branch.
        """
        if not self.bayes:
            *hidden, last = self
            for conv in hidden:
                x = conv(x).relu()
            return at_least_float32(last(x)), None
        first, *others = self
        mean, std = _float_moments(first, x)
        for conv in others:
            mean, variance = rectified_moments(mean, std.square())
            # the noise that this layer adds to certain inputs E[h] …
            mean, std = _float_moments(conv, mean)
            # as in BayesConv2d: squares of float16 would overflow
            with torch.autocast(mean.device.type, enabled=False):
                square = at_least_float32(conv.weight).square()
                passed = conv._conv_forward(variance, square, None)
                # … and, since E[h^2] = E[h]^2 + Var[h], what their variance
                # comes to behind a random weight
                total = std.square() + (1 + conv.scale) * passed
            std = total.clamp(min=_TINY).sqrt()
        return mean, std

    def sample(self, mean: Tensor, std: Optional[Tensor]) -> Tensor:
        """Logits as eq. 1 draws them, or the mean of a plain branch."""
        return mean if std is None else self[-1].sample(mean, std)

    def init_weights(self, bias: Optional[Tensor]) -> None:
        """Small weights, as mmdet's heads have, and the bias of the logits."""
        for conv in self:
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)
        if bias is not None:
            self[-1].bias.data.copy_(bias.data)


def _float_moments(conv: BayesConv2d, x: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = conv.moments(x)
    return at_least_float32(mean), at_least_float32(std)
