"""How a layer's channels hold a mixture: one layer, all components in it."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from torch import Tensor

from .class_mixture import ClassMixture
from .gaussian_mixture import GaussianMixture


@dataclass(frozen=True)
class ClassOutput:
    """The channels of one prior's (or proposal's) class distribution.

    Logits and, unless ``variance`` is False, variances of all K x C components
    and classes, then the K weights: C·2·K + K channels, or C·K + K in the
    efficient form (section 3.1 of "Deep Active Learning for Object Detection
    with Mixture Density Networks"). No components: C plain logits.

    Args:
        classes (int): C, with the background.
        components (int): K >= 1, or 0 for a plain softmax.
        variance (bool): Whether logits have variances.
    """
    classes: int
    components: int
    variance: bool = True

    def __post_init__(self) -> None:
        check_components(self.components, 'cls_components')

    @property
    def channels(self) -> int:
        """How many channels a prior has."""
        return sum(self._sizes) if self.components else self.classes

    @property
    def _sizes(self) -> tuple[int, int, int]:
        each = self.components * self.classes
        # in this order in the channels; times a bool: none without variances
        return each, each * self.variance, self.components

    def mixture(self, raw: Tensor, variance: bool = True) -> ClassMixture:
        """Read the distribution from the channels.

        Args:
            raw (Tensor): [..., :attr:`channels`].
            variance (bool): False leaves the variances out, which
                probabilities do not need.

        Returns:
            ClassMixture: Over C classes; a plain softmax is a mixture of one.
        """
        if not self.components:
            # an only component has all the weight, whatever its logit
            weight = raw.new_zeros((*raw.shape[:-1], 1))
            return ClassMixture.from_raw(raw.unsqueeze(-2), None, weight)
        logits, variances, weights = raw.split(self._sizes, dim=-1)
        shape = (self.components, self.classes)
        wanted = self.variance and variance
        return ClassMixture.from_raw(
            logits.unflatten(-1, shape),
            variances.unflatten(-1, shape) if wanted else None, weights)


@dataclass(frozen=True)
class BoxOutput:
    """The channels of one box: means, variances and weights, 4·K of each.

    Args:
        components (int): K >= 1, or 0 for four plain numbers.
    """
    components: int

    def __post_init__(self) -> None:
        check_components(self.components, 'box_components')

    @property
    def channels(self) -> int:
        """How many channels a box has."""
        return 12 * self.components if self.components else 4

    def mixture(self, raw: Tensor) -> Optional[GaussianMixture]:
        """Read the distribution from the channels.

        Args:
            raw (Tensor): [..., :attr:`channels`].

        Returns:
            GaussianMixture: Over the four deltas, or None without components.
        """
        if not self.components:
            return None
        # means, variances, weights, as they lie in the channels
        raws = raw.unflatten(-1, (3, self.components, 4)).unbind(-3)
        return GaussianMixture.from_raw(*raws)


def check_components(components: int, name: str) -> None:
    """Raise a ValueError unless a number of components is one."""
    number = isinstance(components, int) and not isinstance(components, bool)
    if not number or components < 0:
        raise ValueError(
            f'{name} is {components!r}: give the number of mixture '
            'components, or 0 for the plain output of mmdet.')
