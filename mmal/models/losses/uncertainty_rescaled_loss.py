"""A loss whose elements count as much as they are difficult (convBayes)."""
from __future__ import annotations

import contextlib
import math
import warnings
from dataclasses import dataclass
from typing import Any, Iterator, Optional, Tuple, Union

import torch
from torch import Tensor, nn

from mmal.registry import MODELS
from mmal.uncertainty import at_least_float32, bald, difficulty
from .elements import full_weight, is_counted, is_own_class
from .reduction import check_reduction, reduce


def rescale_by_difficulty(losses: Tensor,
                          uncertainty: Tensor,
                          correct: Tensor,
                          weight: Optional[Tensor] = None,
                          normalize: bool = False) -> Tensor:
    """loss D, with D of eq. 3.

    Li et al., ICIP 2020. The slides do not print the rescaled loss, nor do
    they mention a normaliser. D is below 1, so the loss shrinks to 0.3 to 0.5
    of itself. Its mean would give the elements their weight back, but not the
    loss: D is large where the loss is, and the sum grows to about twice.

    Args:
        losses (Tensor): Any shape, already weighted.
        uncertainty (Tensor): U_BALD of eq. 2, see
            :func:`mmal.uncertainty.bald`, the same shape.
        correct (Tensor): The same shape: whether the prediction is, as bool,
            or how far, in [0, 1].
        weight (Tensor, optional): >= 0, the same shape: how much each counts
            in the mean of D; all alike without.
        normalize (bool): Whether D is divided by its mean.

    Returns:
        Tensor: The shape of ``losses``.

    Example:
        >>> zeros, correct = torch.zeros(2), torch.tensor([True, False])
        >>> rescale_by_difficulty(torch.ones(2), zeros, correct)
        tensor([0.2500, 0.7500])
    """
    factor = difficulty(uncertainty, correct)
    if normalize:
        weight = (
            torch.ones_like(factor) if weight is None else
            weight.to(factor.dtype))
        total = weight.sum()
        # Without an element that counts the mean is 1. By where, not by an
        # if, which would wait for the GPU; and 0 / 0 has no gradient either.
        some = total > 0
        mean = ((factor * weight).sum() / total.where(some, 1)).where(some, 1)
        factor = factor / mean
    return losses * factor


@dataclass
class RescalingStatistics:
    """What rescaling did while a branch was open.

    Attributes:
        plain (Tensor): Sum of the calls' losses, as they would be without
            rescaling, a scalar.
        rescaled (Tensor): Sum of the calls' losses.
        bald (Tensor): Sum of U_BALD over the elements that count, in bits.
        widest (Tensor): The largest of them, 0 without one.
        count (Tensor): How many elements count.
    """
    plain: Tensor
    rescaled: Tensor
    bald: Tensor
    widest: Tensor
    count: Tensor

    def __add__(self, other: RescalingStatistics) -> RescalingStatistics:
        return RescalingStatistics(
            self.plain + other.plain, self.rescaled + other.rescaled,
            self.bald + other.bald, torch.maximum(self.widest, other.widest),
            self.count + other.count)

    @property
    def factor(self) -> Tensor:
        """Rescaled over plain loss, 1 where that is 0."""
        some = self.plain != 0
        return (self.rescaled / self.plain.where(some, 1)).where(some, 1)

    @property
    def mean_bald(self) -> Tensor:
        """In bits, 0 without an element."""
        return self.bald / self.count.clamp(min=1)


class _Branch:
    """Rows of μ and σ, handed out in their order."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        if mean.dim() != 2 or mean.shape != std.shape:
            raise ValueError(
                f'branch outputs of shapes {tuple(mean.shape)} and '
                f'{tuple(std.shape)} must both be [N, C].')
        self.mean = mean
        self.std = std
        self.used = 0
        self.statistics: Optional[RescalingStatistics] = None

    @property
    def left(self) -> int:
        return len(self.mean) - self.used

    def take(self, like: Tensor) -> Tuple[Tensor, Tensor]:
        """The next rows, as many as ``like`` has, in its shape."""
        columns = self.mean.shape[1]
        if columns != 1 and like.shape[-1] != columns:
            raise ValueError(
                f'predictions of shape {tuple(like.shape)} do not fit the '
                f'{columns} columns of the branch: the branch must have as '
                'many outputs per anchor as the layer beside it.')
        rows = like.numel() if columns == 1 else like[..., 0].numel()
        if rows > self.left:
            raise ValueError(
                f'the loss asks for {rows} rows but {self.left} of '
                f'{len(self.mean)} branch rows are left: hand in the rows of '
                'all levels, in the order of the calls.')
        start, self.used = self.used, self.used + rows
        return (self.mean[start:self.used].reshape(like.shape),
                self.std[start:self.used].reshape(like.shape))

    @torch.no_grad()
    def note(self, plain: Tensor, rescaled: Tensor, uncertainty: Tensor,
             weight: Tensor) -> None:
        """Add the elements of one call to the statistics."""
        counted = weight > 0
        bits = uncertainty * counted
        statistics = RescalingStatistics(
            plain.float().sum(), rescaled.float().sum(), bits.sum(),
            # amax takes no empty tensor
            bits.amax() if bits.numel() else bits.sum(), counted.sum())
        if self.statistics is not None:
            statistics = self.statistics + statistics
        self.statistics = statistics


@MODELS.register_module()
class UncertaintyRescaledLoss(nn.Module):
    """A loss of mmdet, rescaled by the difficulty of its elements.

    Li et al., ICIP 2020, see :func:`rescale_by_difficulty`. It looks like the
    wrapped loss: same call, same attributes. Inside :meth:`branch` the
    elements of each call are rescaled; outside it is the wrapped loss itself,
    as in evaluation (a loss trained like that from the start warns). A
    prediction is correct where it and its target are on the same side of one
    half. A mean difficulty is taken in each call, so that each level of a
    head that calls level by level keeps its weight.

    Args:
        loss (dict | nn.Module): The wrapped loss, one of sigmoids that can
            be unreduced: CrossEntropyLoss with ``use_sigmoid``, FocalLoss,
            :class:`~mmal.models.AnchorLoss`.
        normalize (bool): Whether to divide by the mean difficulty.
        detach (bool): Whether the weight carries no gradient.
        temperature (float): Width of the step of eq. 3, in logits, >= 0: a
            prediction z of an object is correct by sigmoid(z / temperature),
            one of the background by sigmoid(-z / temperature); no gradient
            flows through that. 0 is the slides' step. With the step and a
            small uncertainty every rate of objects between 1/4 and 3/4 is
            best answered by a score of one half.
        use_sigmoid (bool, optional): Must be given as True beside a config
            of a ``loss``: a head reads it there, and without it makes outputs
            for a softmax.

    Raises:
        ValueError: If the wrapped loss is not one of sigmoids, or
            ``use_sigmoid`` is missing.

    Example:
        >>> loss = UncertaintyRescaledLoss(
        ...     dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True),
        ...     use_sigmoid=True)
        >>> pred, target = torch.zeros(2, 1), torch.tensor([[0.], [1.]])
        >>> with loss.branch(torch.zeros(2, 1), torch.ones(2, 1)):
        ...     loss(pred, target)
        tensor(0.3466)
    """

    def __init__(self,
                 loss: Union[dict, nn.Module],
                 normalize: bool = False,
                 detach: bool = True,
                 temperature: float = 0.,
                 use_sigmoid: Optional[bool] = None) -> None:
        super().__init__()
        if not 0 <= temperature < math.inf:
            raise ValueError(
                f'UncertaintyRescaledLoss.temperature is {temperature!r}, '
                'must be a number >= 0; 0 is the step of eq. 3.')
        if use_sigmoid is None:
            use_sigmoid = isinstance(loss, nn.Module)
        self.loss = (
            loss if isinstance(loss, nn.Module) else MODELS.build(loss))
        self.normalize = normalize
        self.detach = detach
        self.temperature = temperature
        self._branch: Optional[_Branch] = None
        self._was_open = False
        if not getattr(self.loss, 'use_sigmoid', False):
            raise ValueError(
                'UncertaintyRescaledLoss.loss is '
                f'{type(self.loss).__name__} without use_sigmoid: set '
                'use_sigmoid=True in it and beside it; a softmax has one loss '
                'for all classes.')
        if not use_sigmoid:
            raise ValueError(
                'UncertaintyRescaledLoss.use_sigmoid is not True: write '
                'use_sigmoid=True beside its type too, where the head looks '
                'for it; without it a head makes outputs for a softmax.')

    def __getattr__(self, name: str) -> Any:
        """What this module lacks is the wrapped loss's."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == 'loss':  # asked for while it is copied or unpickled
                raise
            return getattr(self.loss, name)

    @contextlib.contextmanager
    def branch(self, mean: Tensor, std: Tensor) -> Iterator[_Branch]:
        """Inside, the calls of the loss are rescaled by these moments.

        Args:
            mean (Tensor): [N, C], the rows of ``pred`` of all calls to come,
                one below the other. C = 1 fits a ``pred`` of any shape.
            std (Tensor): [N, C].

        Yields:
            object: Its ``statistics`` is the :class:`RescalingStatistics` of
            the calls so far, None before the first.

        Raises:
            ValueError: If a call takes more rows than are left, has other
                columns, or if rows are left at the end.
            RuntimeError: If one is open already.
        """
        if self._branch is not None:
            raise RuntimeError('UncertaintyRescaledLoss.branch is open '
                               'already, close it before the next.')
        self._branch = _Branch(mean, std)
        self._was_open = True
        try:
            yield self._branch
            left, total = self._branch.left, len(self._branch.mean)
            if left:
                raise ValueError(
                    f'{left} of {total} branch rows were taken by no call of '
                    'the loss: hand in the rows of its calls only.')
        finally:
            self._branch = None

    def forward(self,
                pred: Tensor,
                target: Tensor,
                weight: Optional[Tensor] = None,
                avg_factor: Optional[Union[float, Tensor]] = None,
                reduction_override: Optional[str] = None,
                **kwargs: Any) -> Tensor:
        """The loss as the wrapped one reduces it.

        Args:
            pred (Tensor): [n, C], [B, n, C], or any shape of objectness.
            target (Tensor): Labels without the last dimension, or as many
                dimensions as ``pred``.
            weight (Tensor, optional): [n] or what broadcasts to ``pred``.
            avg_factor (float | Tensor, optional): Divisor for 'mean'.
            reduction_override (str, optional): In place of ``reduction``.
            **kwargs: For the wrapped loss.

        Returns:
            Tensor: A scalar, or the shape of ``pred`` for 'none'.
        """
        if self._branch is None:
            # in training that is a plain head: others open it first
            if self.training and not self._was_open:
                warnings.warn(
                    'UncertaintyRescaledLoss is trained without a branch, so '
                    'it rescales nothing: set the type of the head to one '
                    'with a branch, e.g. mmal.BayesYOLOV3Head.',
                    stacklevel=2)
            return self.loss(
                pred,
                target,
                weight=weight,
                avg_factor=avg_factor,
                reduction_override=reduction_override,
                **kwargs)
        losses = self.loss(
            pred, target, weight=weight, reduction_override='none', **kwargs)
        if losses.shape != pred.shape:
            raise ValueError(
                f'UncertaintyRescaledLoss.loss {type(self.loss).__name__} '
                f'gives unreduced losses of shape {tuple(losses.shape)} for '
                f'predictions of shape {tuple(pred.shape)}, which must be '
                'equal: take one that sums nothing, e.g. FocalLoss.')
        counted = is_counted(
            pred, target, getattr(self.loss, 'ignore_index', None))
        mean, std = self._branch.take(pred)
        if self.detach:
            mean, std = mean.detach(), std.detach()
        uncertainty = bald(mean, std)
        weight = full_weight(pred, weight) * counted
        rescaled = rescale_by_difficulty(
            losses, uncertainty, self._correct(pred, target), weight,
            self.normalize)
        reduction = check_reduction(reduction_override or self.reduction)
        # what mmdet's CrossEntropyLoss divides by, if it has this option
        if reduction == 'mean' and avg_factor is None and getattr(
                self.loss, 'avg_non_ignore', False):
            avg_factor = counted.sum()
        loss = reduce(rescaled, None, reduction, avg_factor)
        with torch.no_grad():
            plain = reduce(losses, None, reduction, avg_factor)
        self._branch.note(plain, loss, uncertainty, weight)
        return loss

    @torch.no_grad()
    def _correct(self, pred: Tensor, target: Tensor) -> Tensor:
        """Whether, or with a temperature how far, predictions are correct."""
        own = is_own_class(pred, target)
        # mmdet's FocalLoss may be given probabilities instead of logits
        activated = getattr(self.loss, 'activated', False)
        if not self.temperature:
            return (pred > (0.5 if activated else 0.)) == own
        logit = at_least_float32(pred)
        if activated:
            logit = logit.logit(eps=1e-6)
        return (logit.where(own, -logit) / self.temperature).sigmoid()
