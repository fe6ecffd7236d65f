"""Mixtures of sigmoids, for detectors without a background class."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from mmal.uncertainty import aleatoric, at_least_float32, epistemic


@dataclass(eq=False)
class SigmoidMixture:
    """K opinions on C independent classes: p = sum_k pi_k sigmoid(z_k).

    The K opinions share their weights over the classes. Tensors of lower
    precision become float32.

    Args:
        logits (Tensor): z [..., K, C].
        log_weights (Tensor): [..., K]. Sums to 1 over K after exp.

    Raises:
        ValueError: If the shapes do not fit, or K is 0.

    Example:
        >>> import torch
        >>> mixture = SigmoidMixture.from_raw(
        ...     torch.tensor([[2.], [-2.]]), torch.zeros(2))
        >>> mixture.probs
        tensor([0.5000])
    """
    logits: Tensor
    log_weights: Tensor

    def __post_init__(self) -> None:
        self.logits = at_least_float32(self.logits)
        self.log_weights = at_least_float32(self.log_weights)
        shape, weights = self.logits.shape, self.log_weights.shape
        if len(shape) < 2 or shape[-2] < 1 or weights != shape[:-1]:
            raise ValueError(
                f'a sigmoid mixture got logits {tuple(shape)} and weights '
                f'{tuple(weights)}: give [..., K, C] and [..., K], with '
                'K >= 1.')

    @classmethod
    def from_raw(cls, logits: Tensor, weight_logits: Tensor) -> SigmoidMixture:
        """The mixture of raw head outputs.

        Args:
            logits (Tensor): [..., K, C].
            weight_logits (Tensor): [..., K].

        Returns:
            SigmoidMixture: Its weights are the softmax of those given.
        """
        weights = at_least_float32(weight_logits)
        return cls(logits, weights.log_softmax(dim=-1))

    @property
    def num_components(self) -> int:
        """K."""
        return self.logits.shape[-2]

    @property
    def weights(self) -> Tensor:
        """[..., K], summing to 1 over K."""
        return self.log_weights.exp()

    @property
    def logit(self) -> Tensor:
        """[..., C]: log p - log(1 - p), so that any sigmoid loss takes it.

        In the log domain and relative to the first component: finite for
        all finite z, and exactly z where the components agree.
        """
        # log p and log(1 - p) apart: 1 - p of a sure class is 0 in float32
        yes, no = F.logsigmoid(self.logits), F.logsigmoid(-self.logits)
        return self.logits[..., 0, :] + (
            self._mixed(yes - yes[..., :1, :]) -
            self._mixed(no - no[..., :1, :]))

    @property
    def probs(self) -> Tensor:
        """[..., C] in [0, 1]."""
        return self.logit.sigmoid()

    @property
    def aleatoric(self) -> Tensor:
        """[..., C] in [0, 0.25]: sum_k pi_k p_k (1 - p_k).

        The diagonal of eq. 8 of MDN with sigmoids. With :attr:`epistemic` it
        adds up to p (1 - p), the variance of the class.
        """
        each = self._sigmoid
        return aleatoric(self._columns, each * (1 - each))

    @property
    def epistemic(self) -> Tensor:
        """[..., C] in [0, 0.25]: eq. 1 of MDN on the sigmoids."""
        return epistemic(self._columns, self._sigmoid)

    def __getitem__(self, index: Any) -> SigmoidMixture:
        """The mixtures at an index into the leading dimensions."""
        return SigmoidMixture(self.logits[index], self.log_weights[index])

    @property
    def _columns(self) -> Tensor:
        return self.weights.unsqueeze(-1)

    @property
    def _sigmoid(self) -> Tensor:
        return self.logits.sigmoid()

    def _mixed(self, logs: Tensor) -> Tensor:
        return (self.log_weights.unsqueeze(-1) + logs).logsumexp(dim=-2)
