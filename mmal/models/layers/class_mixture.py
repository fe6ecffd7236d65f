"""Mixtures of class logits as one object."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from torch import Tensor

from mmal.uncertainty import (
    aleatoric,
    at_least_float32,
    epistemic,
    mixture_mean,
    softmax_aleatoric,
)
from .gaussian_mixture import variances_of


@dataclass(eq=False)
class ClassMixture:
    """K Gaussians over the logits of C classes, the last one background.

    Tensors of lower precision become float32.

    Args:
        logits (Tensor): Means [..., K, C].
        variances (Tensor, optional): [..., K, C], positive. None in the
            efficient form, which predicts none.
        log_weights (Tensor): [..., K]. Sums to 1 over K after exp.

    Raises:
        ValueError: If the shapes do not fit, or K is 0.

    Example:
        >>> import torch
        >>> mixture = ClassMixture.from_raw(
        ...     torch.zeros(5, 2, 4), None, torch.zeros(5, 2))
        >>> mixture[0].probs
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    logits: Tensor
    variances: Optional[Tensor]
    log_weights: Tensor

    def __post_init__(self) -> None:
        self.logits = at_least_float32(self.logits)
        self.log_weights = at_least_float32(self.log_weights)
        if self.variances is not None:
            self.variances = at_least_float32(self.variances)
        shape, weights = self.logits.shape, self.log_weights.shape
        variances = shape if self.variances is None else self.variances.shape
        # before a wrong shape broadcasts to a number that looks right
        if not (len(shape) >= 2 and shape[-2] >= 1 and variances == shape
                and weights == shape[:-1]):
            raise ValueError(
                f'a class mixture got logits {tuple(shape)}, variances '
                f'{tuple(variances)} and weights {tuple(weights)}: give '
                '[..., K, C], the same or None, and [..., K], with K >= 1.')

    @classmethod
    def from_raw(cls, logits: Tensor, variance_logits: Optional[Tensor],
                 weight_logits: Tensor) -> ClassMixture:
        """The mixture of raw head outputs (MDN, eq. 2).

        Args:
            logits (Tensor): [..., K, C].
            variance_logits (Tensor, optional): [..., K, C].
            weight_logits (Tensor): [..., K].

        Returns:
            ClassMixture: Variances, if any, are in [1e-7, 1].
        """
        variances = None
        if variance_logits is not None:
            variances = variances_of(variance_logits)
        weights = at_least_float32(weight_logits)
        return cls(logits, variances, weights.log_softmax(dim=-1))

    @property
    def num_components(self) -> int:
        """K."""
        return self.logits.shape[-2]

    @property
    def weights(self) -> Tensor:
        """[..., K], summing to 1 over K."""
        return self.log_weights.exp()

    @property
    def probs(self) -> Tensor:
        """[..., C] (MDN, eq. 7): means are softmaxed, then mixed."""
        return mixture_mean(self._columns, self._softmax)

    @property
    def aleatoric(self) -> Tensor:
        """[..., C]: the mean variance, or :attr:`softmax_aleatoric`."""
        if self.variances is None:
            return self.softmax_aleatoric
        return aleatoric(self._columns, self.variances)

    @property
    def softmax_aleatoric(self) -> Tensor:
        """[..., C] in [0, 0.25]: the diagonal of eq. 8 (MDN)."""
        return softmax_aleatoric(self._columns, self._softmax)

    @property
    def epistemic(self) -> Tensor:
        """[..., C]: eq. 1 (MDN) on the softmaxed means."""
        return epistemic(self._columns, self._softmax)

    def __getitem__(self, index: Any) -> ClassMixture:
        """The mixtures at an index into the leading dimensions."""
        variances = None if self.variances is None else self.variances[index]
        return ClassMixture(self.logits[index], variances,
                            self.log_weights[index])

    @property
    def _columns(self) -> Tensor:
        return self.weights.unsqueeze(-1)

    @property
    def _softmax(self) -> Tensor:
        return self.logits.softmax(dim=-1)
