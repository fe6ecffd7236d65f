"""What a config says about the uncertainty branch of a head."""
from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Optional, Union

from torch import nn

from ..losses import UncertaintyRescaledLoss

_ARCHITECTURE = ('layers', 'channels', 'kernel_size', 'scale', 'learn_scale',
                 'samples', 'bayes')
_RESCALING = ('normalize', 'detach', 'temperature')


@dataclass(frozen=True)
class BranchOptions:
    """``bbox_head.branch`` of a config.

    Args:
        layers (int): Convolutions in a row, each Bayesian and each but the
            last followed by a ReLU, >= 1.
        channels (int): Width between them, >= 1.
        kernel_size (int): Of each, odd, >= 1. YOLOv3's prediction layer has
            1; larger ones cost more than the branch is worth elsewhere.
        scale (float): Lambda of eq. 1, > 0. The slides do not give it; with
            0.1 hardly any anchor is uncertain (docs/convbayes.md).
        learn_scale (bool): Whether lambda is learned.
        samples (int): K of eq. 1, >= 1.
        loss_weight (float): Factor of the branch's own loss, > 0.
        kl_weight (float): Factor of the divergence of the weights from a
            log-uniform prior, >= 0; it widens them and needs ``learn_scale``.
        detach_input (bool): Whether the gradient of the branch's own loss
            stops at what it reads. False trains the layers below too, whose
            objectness (or classes) then count twice.
        rescale (bool | dict, optional): Whether the head's loss is rescaled,
            or options of :class:`mmal.models.losses.UncertaintyRescaledLoss`.
            None: as ``bayes``.
        bayes (bool): False makes plain convolutions, the slides' ablation
            "additional conv".

    Raises:
        ValueError: If an option is out of its range or a plain branch is to
            rescale.
    """
    layers: int = 1
    channels: int = 64
    kernel_size: int = 1
    scale: float = 10.
    learn_scale: bool = False
    samples: int = 1
    loss_weight: float = 1.0
    kl_weight: float = 0.
    detach_input: bool = True
    rescale: Union[bool, dict, None] = None
    bayes: bool = True

    def __post_init__(self) -> None:
        for name in ('layers', 'channels', 'kernel_size', 'samples'):
            value = getattr(self, name)
            self._need(name, isinstance(value, int) and value >= 1,
                       'an integer of at least 1')
        for name in ('scale', 'loss_weight'):
            self._need(name, getattr(self, name) > 0, 'above 0')
        self._need('kernel_size', self.kernel_size % 2 == 1, 'odd')
        self._need('kl_weight', 0 <= self.kl_weight < math.inf, '>= 0')
        self._need('kl_weight', not self.kl_weight or (
            self.learn_scale and self.bayes),
            '0 unless learn_scale and bayes are True')
        # the class is frozen, but None stands for another option's value
        if self.rescale is None:
            object.__setattr__(self, 'rescale', self.bayes)
        self._need(
            'rescale', isinstance(self.rescale, bool) or (
                isinstance(self.rescale, Mapping) and
                set(self.rescale) <= set(_RESCALING)),
            f'a bool, or a dict of {", ".join(_RESCALING)}')
        if self.rescales and not self.bayes:
            raise ValueError(
                'bbox_head.branch.rescale needs the uncertainty of a Bayesian '
                'branch, but bbox_head.branch.bayes is False: drop one.')

    def _need(self, name: str, fulfilled: bool, wanted: str) -> None:
        if not fulfilled:
            raise ValueError(f'bbox_head.branch.{name} is '
                             f'{getattr(self, name)!r}, must be {wanted}.')

    @classmethod
    def of(cls, branch: Optional[dict]) -> BranchOptions:
        """The options of a config, or a ValueError for an unknown key."""
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(branch or {}) - set(known))
        if unknown:
            raise ValueError(f'bbox_head.branch has the unknown key '
                             f'{unknown[0]!r}: give {", ".join(known)}.')
        return cls(**(branch or {}))

    @property
    def architecture(self) -> dict:
        """Those of :class:`mmal.models.layers.UncertaintyBranch`."""
        return {name: getattr(self, name) for name in _ARCHITECTURE}

    @property
    def rescales(self) -> bool:
        """Whether the head's loss is rescaled; ``dict()`` says yes."""
        return self.rescale is not False

    def rescalable(self, loss: nn.Module, name: str,
                   use_sigmoid: bool) -> nn.Module:
        """The loss of a prediction layer, so that a branch may rescale it.

        Args:
            loss (nn.Module): Any loss of a head; where the config has wrapped
                it, it has options of its own.
            name (str): What the head calls it.
            use_sigmoid (bool): Whether the head makes outputs for sigmoids.

        Returns:
            nn.Module: The same one where nothing is to be rescaled.

        Raises:
            ValueError: If it is not elementwise on sigmoids, or is wrapped
                while ``rescale`` says how.
        """
        if not (use_sigmoid and getattr(loss, 'use_sigmoid', False)):
            raise ValueError(
                f'bbox_head.{name} is a {type(loss).__name__} without '
                'use_sigmoid=True: the uncertainty of the branch (eq. 2) is '
                'that of a yes or no.')
        if isinstance(loss, UncertaintyRescaledLoss):
            # True and an empty dict say nothing that could contradict it
            if self.rescale is not True and self.rescale != {}:
                raise ValueError(
                    f'bbox_head.{name} is an UncertaintyRescaledLoss, but '
                    f'bbox_head.branch.rescale is {self.rescale!r}: give the '
                    'loss that it wraps instead, or leave rescale out and '
                    'set its options in the loss.')
            return loss
        if not self.rescales:
            return loss
        options = {} if self.rescale is True else dict(self.rescale)
        return UncertaintyRescaledLoss(loss, **options)
