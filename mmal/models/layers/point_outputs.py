"""How the maps of an anchor-free head hold mixtures.

The plain outputs of FCOS are the common part of all components, layers of
their own give how each component differs from it, its variance and its weight.
The components of a class (a side) are neighbouring channels.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from mmal.uncertainty import at_least_float32
from .gaussian_mixture import GaussianMixture, variances_of
from .raw_outputs import check_components
from .sigmoid_mixture import SigmoidMixture

SIDES = 4
MIN_VARIANCE = 1e-4


VARIANCES = {
    'softplus': lambda x: F.softplus(at_least_float32(x)) + MIN_VARIANCE,
    'sigmoid': variances_of
}


@dataclass(frozen=True)
class SigmoidOutput:
    """The channels of a point's classes: C * K logits, then K weights.

    Args:
        classes (int): C.
        components (int): K. One needs no weights; 0 is the plain output.
    """
    classes: int
    components: int

    def __post_init__(self) -> None:
        check_components(self.components, 'cls_components')

    @property
    def extras(self) -> dict[str, int]:
        """The channels of the layers beside the plain one, by name."""
        if self.components < 2:
            return {}
        return dict(
            conv_cls_deltas=self.classes * self.components,
            conv_cls_weights=self.components)

    @property
    def channels(self) -> int:
        """How many channels a point has."""
        return sum(self.extras.values()) or self.classes

    def pack(self, logits: Tensor, extras: dict[str, Tensor]) -> Tensor:
        """One map of what all layers gave.

        Args:
            logits (Tensor): The plain output [B, C, H, W].
            extras (dict[str, Tensor]): Of the layers in :attr:`extras`.

        Returns:
            Tensor: [B, :attr:`channels`, H, W], float32 or better.
        """
        if not extras:
            return at_least_float32(logits)
        return torch.cat([
            _spread(logits, extras['conv_cls_deltas']),
            at_least_float32(extras['conv_cls_weights'])
        ], 1)

    def mixture(self, raw: Tensor) -> SigmoidMixture:
        """Read the distribution from the channels.

        Args:
            raw (Tensor): [..., :attr:`channels`].

        Returns:
            SigmoidMixture: [..., K, C]; the plain output is one of K = 1.
        """
        if self.components < 2:
            # the softmax of a single number is 1
            weight = raw.new_zeros((*raw.shape[:-1], 1))
            return SigmoidMixture.from_raw(raw.unsqueeze(-2), weight)
        logits, weights = raw.split(list(self.extras.values()), dim=-1)
        shape = (self.classes, self.components)
        return SigmoidMixture.from_raw(logits.unflatten(-1, shape).mT, weights)


@dataclass(frozen=True)
class DistanceOutput:
    """The channels of a point's distances: 4 * K means, variances, weights.

    Args:
        components (int): K. One needs no weights; 0 is the plain output.
        variance (str): 'softplus', which has no upper bound: an error may be
            many strides; or 'sigmoid', at most 1, as in MDN.

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
    def extras(self) -> dict[str, int]:
        """The channels of the layers beside the plain one, by name."""
        each = SIDES * self.components
        names = dict(conv_reg_variances=each) if each else {}
        if self.components > 1:
            names.update(conv_reg_deltas=each, conv_reg_weights=each)
        return names

    @property
    def channels(self) -> int:
        """How many channels a point has."""
        extras = sum(self.extras.values())
        return extras + SIDES if self.components < 2 else extras

    def pack(self, sides: Tensor, extras: dict[str, Tensor]) -> Tensor:
        """One map of what all layers gave.

        Args:
            sides (Tensor): The plain output [B, 4, H, W].
            extras (dict[str, Tensor]): Of the layers in :attr:`extras`.

        Returns:
            Tensor: [B, :attr:`channels`, H, W], float32 or better.
        """
        if 'conv_reg_deltas' in extras:
            sides = _spread(sides, extras['conv_reg_deltas'])
        maps = [sides]
        for name in ('conv_reg_variances', 'conv_reg_weights'):
            if name in extras:
                maps.append(extras[name])
        return torch.cat([at_least_float32(x) for x in maps], 1)

    def mixture(self, raw: Tensor) -> Optional[GaussianMixture]:
        """Read the distribution from the channels.

        Args:
            raw (Tensor): [..., :attr:`channels`].

        Returns:
            GaussianMixture: Over left, top, right and bottom in the head's
            own space, or None without components.
        """
        if not self.components:
            return None
        # components are neighbours among the channels: 4 * K as [K, 4]
        means, variances, *weights = (
            channels.unflatten(-1, (SIDES, self.components)).mT
            for channels in raw.split(SIDES * self.components, dim=-1))
        logits = weights[0] if weights else torch.zeros_like(means)
        return GaussianMixture(means, VARIANCES[self.variance](variances),
                               at_least_float32(logits).log_softmax(dim=-2))

    def mean(self, raw: Tensor) -> Tensor:
        """The mixture mean (MDN, eq. 7), or the plain output.

        Relative to the first component, so that it is exactly the components
        where they agree.

        Args:
            raw (Tensor): [..., :attr:`channels`].

        Returns:
            Tensor: [..., 4].
        """
        mixture = self.mixture(raw)
        if mixture is None:
            return at_least_float32(raw)
        first = mixture.means[..., :1, :]
        offsets = mixture.weights * (mixture.means - first)
        return first.squeeze(-2) + offsets.sum(-2)


def _spread(common: Tensor, deltas: Tensor) -> Tensor:
    """Each channel of [B, n, H, W] as K: it and its K differences."""
    common, deltas = at_least_float32(common), at_least_float32(deltas)
    deltas = deltas.unflatten(1, (common.size(1), -1))
    return (common.unsqueeze(2) + deltas).flatten(1, 2)
