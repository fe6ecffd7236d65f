"""Cross entropy of a mixture of class logits."""
from typing import Optional, Union

import torch
from torch import Tensor, nn

from mmal.models.layers import ClassMixture
from mmal.registry import MODELS
from .reduction import check_reduction, reduce


def mixture_cross_entropy(mixture: ClassMixture,
                          label: Tensor,
                          noise: Optional[Tensor] = None) -> Tensor:
    """sum_k pi_k CE(mu_k + sqrt(Sigma_k) noise, label), eq. 5 of MDN.

    Args:
        mixture (ClassMixture): [n, K, C].
        label (Tensor): int64 [n] in [0, C), background is C - 1.
        noise (Tensor, optional): Standard normal [n, K, C] (eq. 4). None
            takes the means themselves.

    Returns:
        Tensor: [n], float32 or better.

    Raises:
        ValueError: If there is noise but the mixture has no variances, or
            the shapes do not fit.

    Example:
        >>> mixture = ClassMixture.from_raw(
        ...     torch.zeros(1, 2, 4), None, torch.zeros(1, 2))
        >>> mixture_cross_entropy(mixture, torch.tensor([3]))
        tensor([1.3863])
    """
    logits, variances = mixture.logits, mixture.variances
    if label.shape != logits.shape[:-2]:
        raise ValueError(
            f'a class mixture of shape {tuple(logits.shape)} ([n, K, C]) got '
            f'labels of shape {tuple(label.shape)}, which must be [n].')
    if noise is not None:
        if variances is None or noise.shape != logits.shape:
            raise ValueError(
                f'noise of shape {tuple(noise.shape)} needs a mixture with '
                f'variances of that shape; its logits are '
                f'{tuple(logits.shape)}, its variances are '
                f'{"missing" if variances is None else "there"}.')
        logits = logits + variances.sqrt() * noise
    log_probs = logits.log_softmax(dim=-1)
    index = label.long()[..., None, None].expand(*log_probs.shape[:-1], 1)
    own = log_probs.gather(-1, index).squeeze(-1)
    # the mean of the components' entropies, not the entropy of their mean
    return -(mixture.weights * own).sum(dim=-1)


@MODELS.register_module()
class MixtureCrossEntropyLoss(nn.Module):
    """:func:`mixture_cross_entropy` as a loss of a config.

    Draws the noise of eq. 4 in training mode, from torch's generator, where
    the mixture has variances.

    Args:
        reduction (str): 'none', 'mean' or 'sum'.
        loss_weight (float): Factor of the loss.
    """

    def __init__(self,
                 reduction: str = 'mean',
                 loss_weight: float = 1.0) -> None:
        super().__init__()
        self.reduction = check_reduction(reduction)
        self.loss_weight = loss_weight

    def forward(self,
                pred: ClassMixture,
                label: Tensor,
                weight: Optional[Tensor] = None,
                avg_factor: Optional[Union[float, Tensor]] = None,
                reduction_override: Optional[str] = None,
                noise: Optional[Tensor] = None) -> Tensor:
        """The reduced loss.

        Args:
            pred (ClassMixture): [n, K, C].
            label (Tensor): int64 [n].
            weight (Tensor, optional): [n].
            avg_factor (float | Tensor, optional): Divisor for 'mean'.
            reduction_override (str, optional): In place of ``reduction``.
            noise (Tensor, optional): [n, K, C] in place of fresh draws, e.g.
                those by which negatives were mined.

        Returns:
            Tensor: A scalar, or [n] for 'none'.
        """
        reduction = check_reduction(reduction_override or self.reduction)
        if noise is None and self.training and pred.variances is not None:
            noise = torch.randn_like(pred.logits)
        loss = mixture_cross_entropy(pred, label, noise)
        return self.loss_weight * reduce(loss, weight, reduction, avg_factor)
