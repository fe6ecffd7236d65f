"""An auxiliary branch that estimates uncertainty while a head is trained."""
from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Optional

import torch
from torch import Tensor, nn

from mmal.models.utils.random_state import preserve_rng_state
from mmal.recorder import Recorder
from ..layers import UncertaintyBranch
from ..layers.bayes_conv import log_uniform_kl
from ..layers.uncertainty_branch import Moments
from ..losses import RescalingStatistics
from .branch_options import BranchOptions

_TINY = 1e-12
# Uncertainties below so many bits change the difficulty by less than 1%.
_NEAR_ZERO = 0.01
_WATCHED_STEPS = 100


class UncertaintyBranchMixin:
    """Trains a dense head with an uncertainty branch beside its last layer.

    "Loss Rescaling by Uncertainty Inference for Single-stage Object
    Detection" (ICIP 2020). In training the branch reads what the prediction
    layer reads, in the same forward pass. It learns from the head's own
    elementwise loss on the same targets (``loss_branch``, whose gradient
    reaches the trunk only where ``detach_input`` is False), and its
    uncertainty rescales the loss of the prediction layer, eq. 2 and 3. In
    eval mode it is never run: predictions, losses, speed and, but for keys
    that start with ``branch.``, checkpoints are those of the plain head. With
    the same seed so are the weights at the start.

    Beside the losses the log shows, where the branch rescales,
    ``branch_bald``, the mean uncertainty in bits, ``branch_factor``, the
    rescaled over the plain loss, and ``branch_share`` and ``plain_share``,
    the share of this loss in all of the head's without the branch's own, with
    and without rescaling. A branch that is not uncertain anywhere in the first
    100 steps is warned of.

    A head puts this class before mmdet's, and answers ``branched_layers``
    and, if they are not the defaults, ``branched_loss``, ``branch_classes``
    and ``initial_bias``.

    Args:
        *args: Of the plain head.
        branch (dict, optional): See :class:`~.branch_options.BranchOptions`.
        **kwargs: Of the plain head.

    Raises:
        ValueError: If an option is wrong, or the loss is not elementwise on
            sigmoids.
    """

    branched_loss = 'loss_cls'

    def __init__(self, *args, branch: Optional[dict] = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.branch_options = BranchOptions.of(branch)
        # a head asks its config: mmdet's FocalLoss alone would say yes
        use_sigmoid = getattr(self, 'use_sigmoid_cls', True)
        name = self.branched_loss
        setattr(self, name, self.branch_options.rescalable(
            getattr(self, name), name, use_sigmoid))
        self._recorder: Optional[Recorder] = None
        self._steps, self._widest = 0, None
        # the head's own weights are drawn as without the branch
        with preserve_rng_state():
            self.branch = nn.ModuleList(
                UncertaintyBranch(
                    layer.in_channels,
                    self.num_base_priors * self.branch_classes,
                    **self.branch_options.architecture)
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
        branches = self._modules.pop('branch')  # or it takes random numbers
        super().init_weights()
        self.branch = branches
        layers = self.branched_layers()
        with preserve_rng_state(layers[0].weight.device):
            for branch, layer in zip(branches, layers):
                branch.init_weights(self.initial_bias(layer))

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
        with Recorder(dict(enumerate(self.branched_layers()))) as recorder:
            self(feats)
        return [self.branch[call.name](*call.args) for call in recorder.calls]

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
        if self._recorder is None:
            return super().loss_by_feat(*args, **kwargs)
        branches = [self.branch[call.name] for call in self._recorder.calls]
        inputs = [call.args[0] for call in self._recorder.calls]
        if self.branch_options.detach_input:
            inputs = [x.detach() for x in inputs]
        moments = [branch(x) for branch, x in zip(branches, inputs)]
        logits = self._rows([branch.sample(mean, std)
                             for branch, (mean, std) in zip(branches, moments)
                             ]).flatten()
        loss = own = getattr(self, self.branched_loss)
        rescaling = nullcontext()
        if self.branch_options.rescales:
            rows = [self._rows(levels) for levels in zip(*moments)]
            if loss.detach:  # without a graph that nobody uses
                rows = [r.detach() for r in rows]
            rescaling = loss.branch(*rows)
            own = loss.loss  # the branch itself learns all elements alike

        watched = Recorder({self.branched_loss: loss})
        with rescaling as rescaled, watched as recorder:
            losses = super().loss_by_feat(*args, **kwargs)
            # The head has matched its predictions with targets, in calls of
            # its loss for all positions in the order of the levels. The
            # branch's logits, in that order too, take the same targets.
            sizes = [call.args[0].numel() for call in recorder.calls]
            odd = abs(sum(sizes) - len(logits))
            if odd:
                raise ValueError(
                    f'{type(self).__name__}: the predictions that '
                    f'bbox_head.{self.branched_loss} was asked for and those '
                    f'of the branched layers differ by {odd}. The branch '
                    'serves heads whose loss takes those of all positions, '
                    'in the order of the levels.')
        weight = self.branch_options.loss_weight
        own_losses = []
        for call, mine in zip(recorder.calls, logits.split(sizes)):
            pred, *targets = call.args
            own_losses.append(
                weight * own(mine.view(pred.shape), *targets, **call.kwargs))
        losses['loss_branch'] = own_losses
        if rescaled is not None:
            self._report(losses, rescaled.statistics)
        if self.branch_options.kl_weight:
            losses['loss_branch_kl'] = self.branch_options.kl_weight * sum(
                log_uniform_kl(conv.scale)
                for branch in self.branch for conv in branch)
        return losses

    @torch.no_grad()
    def _report(self, losses: dict, statistics: RescalingStatistics) -> None:
        """Log what rescaling did; warn where the branch is of no use."""
        if statistics is None:  # the head had no call of the loss
            return
        # a term is a scalar, or a list with one of each level
        totals = {
            name: sum(value) if isinstance(value, list) else value
            for name, value in losses.items() if name != 'loss_branch'
        }
        own = totals.pop(self.branched_loss)
        others = sum(totals.values(), torch.zeros_like(own))
        plain = own / statistics.factor
        losses.update(
            branch_bald=statistics.mean_bald,
            branch_factor=statistics.factor,
            branch_share=own / (own + others).clamp(min=_TINY),
            plain_share=plain / (plain + others).clamp(min=_TINY))

        if self._steps >= _WATCHED_STEPS:
            return
        self._steps += 1
        self._widest = statistics.widest if self._widest is None else (
            torch.maximum(self._widest, statistics.widest))
        if self._steps == _WATCHED_STEPS and self._widest < _NEAR_ZERO:
            warnings.warn(
                f'bbox_head.branch: in {_WATCHED_STEPS} training steps no '
                f'uncertainty (BALD) was above {self._widest:.2g} bit, so the '
                'difficulty only tells right from wrong predictions: raise '
                f'bbox_head.branch.scale (now {self.branch_options.scale:g}), '
                'e.g. tenfold.',
                stacklevel=2)

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """Record what the prediction layers read, in training mode."""
        if not self.training:
            yield
            return
        layers = dict(enumerate(self.branched_layers()))
        with Recorder(layers) as self._recorder:
            try:
                yield
            finally:
                self._recorder = None

    def _rows(self, levels: Sequence[Tensor]) -> Tensor:
        """[N, C]: level, image, row, column, anchor; mmdet's order."""
        channels = self.branch_classes
        return torch.cat([
            level.permute(0, 2, 3, 1).reshape(-1, channels) for level in levels
        ])
