"""An auxiliary branch that estimates uncertainty while a head is trained."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields
from typing import Any, Optional, Union

import torch
from torch import Tensor, nn

from mmal.models.utils.random_state import preserve_rng_state
from mmal.uncertainty import at_least_float32, rectified_moments
from ..layers import BayesConv2d
from ..losses import UncertaintyRescaledLoss

Moments = tuple[Tensor, Optional[Tensor]]
_RESCALING = ('normalize', 'detach')
_TINY = 1e-12  # keeps the gradient of a square root finite


@dataclass(frozen=True)
class BranchOptions:
    """``bbox_head.branch`` of a config.

    Args:
        layers (int): Convolutions in a row, each Bayesian and each but the
            last followed by a ReLU, >= 1.
        channels (int): Width between them, >= 1.
        kernel_size (int): Of each, odd, >= 1. YOLOv3's prediction layer has
            1; larger ones cost more than the branch is worth elsewhere.
        scale (float): Lambda of eq. 1, > 0.
        learn_scale (bool): Whether lambda is learned.
        samples (int): K of eq. 1, >= 1.
        loss_weight (float): Factor of the branch's own loss, > 0.
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
    scale: float = 0.1
    learn_scale: bool = False
    samples: int = 1
    loss_weight: float = 1.0
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
        if self.rescale is None:
            object.__setattr__(self, 'rescale', self.bayes)
        self._check_rescale()
        if self.rescales and not self.bayes:
            raise ValueError(
                'bbox_head.branch.rescale needs the uncertainty of a Bayesian '
                'branch, but bbox_head.branch.bayes is False: drop one.')

    def _check_rescale(self) -> None:
        given = self.rescale
        self._need(
            'rescale', isinstance(given, bool) or (
                isinstance(given, Mapping) and set(given) <= set(_RESCALING)),
            f'a bool, or a dict of {" and ".join(_RESCALING)}')

    def _need(self, name: str, fulfilled: bool, wanted: str) -> None:
        if not fulfilled:
            raise ValueError(f'bbox_head.branch.{name} is '
                             f'{getattr(self, name)!r}, must be {wanted}.')

    @property
    def rescales(self) -> bool:
        """Whether the head's loss is rescaled; ``dict()`` says yes."""
        return self.rescale is not False

    @property
    def rescaling(self) -> dict:
        """Options of the rescaled loss."""
        return {} if self.rescale is True else dict(self.rescale)

    @classmethod
    def of(cls, branch: Optional[dict]) -> BranchOptions:
        """The options of a config, or a ValueError for an unknown key."""
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(branch or {}) - set(known))
        if unknown:
            raise ValueError(f'bbox_head.branch has the unknown key '
                             f'{unknown[0]!r}: give {", ".join(known)}.')
        return cls(**(branch or {}))


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
        options (BranchOptions): Number, kind and width of the layers.
    """

    def __init__(self, in_channels: int, out_channels: int,
                 options: BranchOptions) -> None:
        inner = [options.channels] * (options.layers - 1)
        widths = [in_channels, *inner, out_channels]
        super().__init__(
            _conv(a, b, options) for a, b in zip(widths, widths[1:]))
        self.bayes = options.bayes

    def forward(self, x: Tensor) -> Moments:
        """The moments of the logits; draws no random number.

        Args:
            x (Tensor): [B, in_channels, H, W].

        Returns:
            tuple[Tensor, Tensor | None]: Mean and standard deviation
            [B, out_channels, H, W], float32 or better; no deviation of a
            plain branch.
        """
        return self._bayesian(x) if self.bayes else (self._plain(x), None)

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

    def _plain(self, x: Tensor) -> Tensor:
        *hidden, last = self
        for conv in hidden:
            x = conv(x).relu()
        return at_least_float32(last(x))

    def _bayesian(self, x: Tensor) -> Moments:
        first, *others = self
        mean, std = _float_moments(first, x)
        for conv in others:
            mean, std = _passed_on(conv, mean, std)
        return mean, std


class UncertaintyBranchMixin:
    """Trains a dense head with an uncertainty branch beside its last layer.

    "Loss Rescaling by Uncertainty Inference for Single-stage Object
    Detection" (ICIP 2020). In training the branch reads what the prediction
    layer reads, in the same forward pass. It learns from the head's own
    elementwise loss on the same targets (``loss_branch``, whose gradient
    reaches the trunk too: the two are parallel), and its uncertainty rescales
    the loss of the prediction layer, eq. 2 and 3. In eval mode it is never
    run: predictions, losses, speed and, but for keys that start with
    ``branch.``, checkpoints are those of the plain head. With the same seed
    so are the weights at the start.

    A head puts this class before mmdet's, and answers ``branched_layers``
    and, if they are not the defaults, ``branched_loss``, ``branch_classes``
    and ``initial_bias``.

    Args:
        *args: Of the plain head.
        branch (dict, optional): See :class:`BranchOptions`.
        **kwargs: Of the plain head.

    Raises:
        ValueError: If an option is wrong, or the loss is not elementwise on
            sigmoids.
    """

    branched_loss = 'loss_cls'

    def __init__(self, *args, branch: Optional[dict] = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.branch_options = BranchOptions.of(branch)
        self._inputs: Optional[list] = None
        self._wrap_loss()
        # the head's own weights are drawn as without the branch
        with preserve_rng_state():
            self.branch = nn.ModuleList(
                UncertaintyBranch(layer.in_channels, self._branch_channels(),
                                  self.branch_options)
                for layer in self.branched_layers())

    def branched_layers(self) -> list[nn.Conv2d]:
        """The prediction layers, each of which gets a branch."""
        raise NotImplementedError

    @property
    def branch_classes(self) -> int:
        """Logits of an anchor (point) in the branch."""
        return self.cls_out_channels

    def initial_bias(self, layer: nn.Conv2d) -> Optional[Tensor]:
        """[A * branch_classes], the prior that a branch starts with."""
        return layer.bias

    def init_weights(self) -> None:
        """Those of the plain head; the branch starts with the same prior."""
        branch = self._modules.pop('branch')  # or it would take random numbers
        super().init_weights()
        self.branch = branch
        layers = self.branched_layers()
        with preserve_rng_state(layers[0].weight.device):
            for one, layer in zip(branch, layers):
                one.init_weights(self.initial_bias(layer))

    def branch_moments(self, feats: Sequence[Tensor]) -> list[Moments]:
        """Mean and standard deviation of each logit, without sampling.

        Args:
            feats (sequence[Tensor]): What the head's ``forward`` takes.

        Returns:
            list[tuple[Tensor, Tensor]]: [B, A * C, H, W] each, a pair a
            level, float32 or better.

        Raises:
            ValueError: If the branch is not Bayesian.
        """
        if not self.branch_options.bayes:
            raise ValueError(
                'a branch of plain convolutions has no uncertainty: train '
                'with bbox_head.branch.bayes=True.')
        with _recorded_inputs(self.branched_layers()) as inputs:
            self(feats)
        return self._moments(inputs)

    def loss(self, *args, **kwargs) -> dict:
        """mmdet's, in training mode with the branch's."""
        with self._recording():
            return super().loss(*args, **kwargs)

    def loss_and_predict(self, *args, **kwargs) -> tuple:
        """mmdet's, in training mode with the branch's loss."""
        with self._recording():
            return super().loss_and_predict(*args, **kwargs)

    def loss_by_feat(self, *args, **kwargs) -> dict:
        """mmdet's; inside :meth:`loss`, in training mode, with the branch's.

        Returns:
            dict[str, Tensor | list[Tensor]]: All terms; with the branch
            ``loss_branch`` too.
        """
        if self._inputs is None:
            return super().loss_by_feat(*args, **kwargs)
        moments = self._moments(self._inputs)
        samples = self._samples(self._inputs, moments)
        with self._rescaling(moments), self._following(samples) as own:
            losses = super().loss_by_feat(*args, **kwargs)
        weight = self.branch_options.loss_weight
        return {**losses, 'loss_branch': [weight * loss for loss in own]}

    @contextmanager
    def _recording(self) -> Iterator[None]:
        if not self.training:
            yield
            return
        with _recorded_inputs(self.branched_layers()) as self._inputs:
            try:
                yield
            finally:
                self._inputs = None

    def _moments(self, inputs: list) -> list[Moments]:
        return [self.branch[index](x) for index, x in inputs]

    def _samples(self, inputs: list, moments: list[Moments]) -> Tensor:
        return self._rows([
            self.branch[index].sample(mean, std)
            for (index, _), (mean, std) in zip(inputs, moments)
        ])

    def _rescaling(self, moments: list[Moments]):
        if not self.branch_options.rescales:
            return nullcontext()
        loss = getattr(self, self.branched_loss)
        rows = [self._rows(levels) for levels in zip(*moments)]
        if loss.detach:  # without a graph that nobody uses
            rows = [r.detach() for r in rows]
        return loss.branch(*rows)

    @contextmanager
    def _following(self, logits: Tensor) -> Iterator[list[Tensor]]:
        """Lead each call of the head's loss to the branch's logits as well.

        Args:
            logits (Tensor): Rows of the branch, in the order of the calls.
        """
        loss, own = getattr(self, self.branched_loss), []
        wrapped = isinstance(loss, UncertaintyRescaledLoss)
        # forward: a call would lead here again
        own_loss = (loss.loss if wrapped else loss).forward
        rest = logits.flatten()

        def follow(module, args, kwargs, output) -> None:
            nonlocal rest
            pred, *targets = args
            self._check_followed(max(0, pred.numel() - len(rest)))
            mine, rest = rest[:pred.numel()], rest[pred.numel():]
            own.append(own_loss(mine.view(pred.shape), *targets, **kwargs))

        with _hooked([loss.register_forward_hook(follow, with_kwargs=True)]):
            yield own
        self._check_followed(len(rest))

    def _check_followed(self, odd: int) -> None:
        """Other positions would pair logits and targets wrongly.

        Args:
            odd (int): Logits of the branch that no call has asked for, or
                that a call asked for too many.
        """
        if odd:
            raise ValueError(
                f'{type(self).__name__}: the predictions that '
                f'bbox_head.{self.branched_loss} was asked for and those of '
                f'the branched layers differ by {odd}. The branch serves '
                'heads whose loss takes those of all positions, in the order '
                'of the levels.')

    def _rows(self, levels: Sequence[Tensor]) -> Tensor:
        """[N, C]: level, image, row, column, anchor; mmdet's order."""
        channels = self.branch_classes
        return torch.cat([
            level.permute(0, 2, 3, 1).reshape(-1, channels) for level in levels
        ])

    def _branch_channels(self) -> int:
        return self.num_base_priors * self.branch_classes

    def _wrap_loss(self) -> None:
        """Check the loss of the prediction layer, make it rescalable."""
        name, options = self.branched_loss, self.branch_options
        loss = getattr(self, name)
        # the head asks its config, and mmdet's FocalLoss says yes by itself
        of_head = getattr(self, 'use_sigmoid_cls', True)
        if not (of_head and getattr(loss, 'use_sigmoid', False)):
            raise ValueError(
                f'bbox_head.{name} is a {type(loss).__name__} without '
                'use_sigmoid=True: the uncertainty of the branch (eq. 2) is '
                'that of a yes or no.')
        if isinstance(loss, UncertaintyRescaledLoss):
            self._check_wrapped()
        elif options.rescales:
            setattr(self, name, UncertaintyRescaledLoss(
                loss, **options.rescaling))

    def _check_wrapped(self) -> None:
        """A loss that the config has wrapped has options of its own."""
        given = self.branch_options.rescale
        if given is not True and given != {}:
            raise ValueError(
                f'bbox_head.{self.branched_loss} is an '
                'UncertaintyRescaledLoss, but bbox_head.branch.rescale is '
                f'{given!r}: give the loss that it wraps instead, or leave '
                'rescale out and set normalize and detach in the loss.')


def _conv(in_channels: int, out_channels: int,
          options: BranchOptions) -> nn.Conv2d:
    size = options.kernel_size
    shape = dict(kernel_size=size, padding=size // 2)
    if not options.bayes:
        return nn.Conv2d(in_channels, out_channels, **shape)
    return BayesConv2d(
        in_channels,
        out_channels,
        **shape,
        scale=options.scale,
        learn_scale=options.learn_scale,
        samples=options.samples)


def _float_moments(conv: BayesConv2d, x: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = conv.moments(x)
    return at_least_float32(mean), at_least_float32(std)


def _passed_on(conv: BayesConv2d, mean: Tensor,
               std: Tensor) -> tuple[Tensor, Tensor]:
    """The moments behind a ReLU and one more Bayesian layer."""
    mean, variance = rectified_moments(mean, std.square())
    mean, std = _float_moments(conv, mean)
    # as in BayesConv2d: squares of float16 would overflow
    with torch.autocast(mean.device.type, enabled=False):
        square = at_least_float32(conv.weight).square()
        passed = conv._conv_forward(variance, square, None)
        total = std.square() + (1 + conv.scale) * passed
    return mean, total.clamp(min=_TINY).sqrt()


@contextmanager
def _recorded_inputs(
        layers: Sequence[nn.Module]) -> Iterator[list[tuple[int, Tensor]]]:
    """What goes into some layers: (index of the layer, input), in order."""
    inputs: list = []

    def recorder(index: int) -> Callable[[nn.Module, Any], None]:
        return lambda module, args: inputs.append((index, args[0]))

    with _hooked([
            layer.register_forward_pre_hook(recorder(index))
            for index, layer in enumerate(layers)
    ]):
        yield inputs


@contextmanager
def _hooked(handles: Sequence) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
