"""What layers beside the prediction layers of a head add to make mixtures.

The plain outputs stay what they are: of a box the mean of its mixture, of the
classes what the components have in common. Further channels say how the
components differ. Those of a class (a coordinate) are neighbours.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import torch
from torch import Tensor

from mmal.uncertainty import at_least_float32
from .gaussian_mixture import GaussianMixture
from .point_outputs import VARIANCES
from .raw_outputs import check_components
from .sigmoid_mixture import SigmoidMixture

_COORDINATES = 4
_FAR = 80.0  # nearly the largest number whose exponential fits float32


@dataclass(frozen=True)
class ClassExtras:
    """C * K differences of logits, then K weights, for each prior.

    Args:
        classes (int): C.
        components (int): K. Below 2 there are none.
    """
    classes: int
    components: int

    def __post_init__(self) -> None:
        check_components(self.components, 'cls_components')

    @property
    def deltas(self) -> slice:
        """Which channels are differences."""
        return slice(0, self.channels - self.components)

    @property
    def channels(self) -> int:
        """How many channels a prior has."""
        if self.components < 2:
            return 0
        return (self.classes + 1) * self.components

    def logit_map(self, logits: Tensor, extras: Tensor) -> Tensor:
        """The logits of the mixed probabilities, at all places of a map.

        Args:
            logits (Tensor): What the components share, [B, A * C, H, W].
            extras (Tensor): [B, A * :attr:`channels`, H, W], K >= 2.

        Returns:
            Tensor: [B, A * C, H, W], float32 or better.
        """
        deltas, weights = extras.unflatten(
            1, (-1, self.channels)).split(self._sizes, dim=2)
        deltas = deltas.unflatten(2, (self.classes, self.components))
        weights = at_least_float32(weights).log_softmax(2).unsqueeze(2)
        logits = logits.unflatten(1, (-1, self.classes))
        return mixed_logit(logits, deltas, weights, dim=3).flatten(1, 2)

    def logit(self, logits: Tensor, extras: Tensor) -> Tensor:
        """The same of rows [..., C] and [..., :attr:`channels`]."""
        if not self.channels:
            return at_least_float32(logits)
        deltas, weights = extras.split(self._sizes, dim=-1)
        deltas = deltas.unflatten(-1, (self.classes, self.components))
        weights = at_least_float32(weights).log_softmax(-1).unsqueeze(-2)
        return mixed_logit(logits, deltas, weights, dim=-1)

    def mixture(self, logits: Tensor, extras: Tensor) -> SigmoidMixture:
        """The components themselves.

        Args:
            logits (Tensor): What they share, [..., C].
            extras (Tensor): [..., :attr:`channels`].

        Returns:
            SigmoidMixture: [..., K, C]; of one without extras.
        """
        if not self.channels:
            # the softmax of a single number is 1
            weight = logits.new_zeros((*logits.shape[:-1], 1))
            return SigmoidMixture.from_raw(logits.unsqueeze(-2), weight)
        deltas, weights = extras.split(self._sizes, dim=-1)
        deltas = deltas.unflatten(-1, (self.classes, self.components)).mT
        return SigmoidMixture.from_raw(
            at_least_float32(logits).unsqueeze(-2) + deltas, weights)

    @property
    def _sizes(self) -> tuple[int, int]:
        return self.classes * self.components, self.components


@dataclass(frozen=True)
class BoxExtras:
    """4 * K variances, differences of means and weights, for each prior.

    Args:
        components (int): K. One has a variance alone; 0 has nothing.
        variance (str): 'softplus', which has no upper bound, or 'sigmoid', at
            most 1, as in MDN.

    Raises:
        ValueError: If an argument is none of these.
    """
    components: int
    variance: str = 'softplus'

    def __post_init__(self) -> None:
        check_components(self.components, 'box_components')
        if self.variance not in VARIANCES:
            raise ValueError(
                f'bbox_head.variance is {self.variance!r}, must be one of '
                f'{", ".join(VARIANCES)}.')

    @property
    def deltas(self) -> slice:
        """Which channels are differences."""
        each = _COORDINATES * self.components
        return slice(each, 2 * each) if self.components > 1 else slice(0)

    @property
    def channels(self) -> int:
        """How many channels a prior has."""
        kinds = 3 if self.components > 1 else 1
        return kinds * _COORDINATES * self.components

    def mixture(self, mean: Tensor,
                extras: Tensor) -> Optional[GaussianMixture]:
        """The distribution of a box.

        Args:
            mean (Tensor): The plain output, [..., 4]. The components lie
                about it: their differences less the weighted mean of these.
            extras (Tensor): [..., :attr:`channels`].

        Returns:
            GaussianMixture: [..., K, 4] in the space of the plain output, or
            None without components.
        """
        if not self.components:
            return None
        variances, *others = (
            channels.unflatten(-1, (_COORDINATES, self.components)).mT
            for channels in at_least_float32(extras).split(
                _COORDINATES * self.components, dim=-1))
        means = at_least_float32(mean).unsqueeze(-2)
        if others:
            deltas, weights = others
            log_weights = weights.log_softmax(dim=-2)
            centre = (log_weights.exp() * deltas).sum(-2, keepdim=True)
            means = means + (deltas - centre)
        else:
            log_weights = torch.zeros_like(means)
        return GaussianMixture(means, VARIANCES[self.variance](variances),
                               log_weights)


def mixed_logit(logits: Tensor,
                deltas: Tensor,
                log_weights: Tensor,
                dim: int = -2) -> Tensor:
    """log p - log(1 - p) of p = sum_k pi_k sigmoid(z + d_k).

    Where all d are 0 it is z to the last bit, and so is its gradient: z takes
    part in what is added to it only through products with exp(d) - 1.

    Args:
        logits (Tensor): z, any shape.
        deltas (Tensor): d, with K numbers at ``dim``. Those beyond ±80 count
            as that much.
        log_weights (Tensor): log pi, which broadcasts to ``deltas``.
        dim (int): Of ``deltas``.

    Returns:
        Tensor: The shape of z, float32 or better; finite for all finite z.

    Example:
        >>> z, d = torch.tensor([0.5]), torch.tensor([[2.], [-2.]])
        >>> mixed_logit(z, d, torch.tensor([[0.5], [0.5]]).log())
        tensor([0.2139])
    """
    logits, deltas = at_least_float32(logits), at_least_float32(deltas)
    common = logits.unsqueeze(dim)
    # In terms of the rarer outcome, of a share of at most 1/2: with it,
    # sigmoid(z + d) / sigmoid(z) = exp(d) / (1 + share (exp(d) - 1)) has a
    # denominator of at least 1/2, in which no digits cancel.
    mirrored = common > 0
    share = torch.where(mirrored, -common, common).sigmoid()
    deltas = torch.where(mirrored, -deltas, deltas).clamp(-_FAR, _FAR)
    rest = log_weights - (share * deltas.expm1()).log1p()
    ratio = (rest + deltas).logsumexp(dim) - rest.logsumexp(dim)
    return logits + torch.where(mirrored.squeeze(dim), -ratio, ratio)
