"""Negative log-likelihood of a box under a Gaussian mixture."""
import math
from typing import Optional, Union

import torch.nn.functional as F
from torch import Tensor, nn

from mmal.models.layers import GaussianMixture
from mmal.models.layers.gaussian_mixture import log_gaussian
from mmal.registry import MODELS
from .reduction import check_reduction, reduce

FORMS = ('paper', 'reference')


def mixture_nll(mixture: GaussianMixture,
                target: Tensor,
                eps: float = 1e-9,
                form: str = 'paper') -> Tensor:
    """-log(sum_k pi_k N(target | mu_k, Sigma_k) + eps), eq. 3 of MDN.

    Args:
        mixture (GaussianMixture): [n, K, D].
        target (Tensor): [n, D].
        eps (float): Added to the density; bounds the loss by -log(eps).
        form (str): 'paper', or 'reference': the authors' code takes
            ``variances`` for standard deviations, adds 0.3 to them in the
            normaliser only, and halves the loss.

    Returns:
        Tensor: [n, D], float32 or better.

    Raises:
        ValueError: If the shapes do not fit or the form is unknown.

    Example:
        >>> import torch
        >>> zero, one = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
        >>> mixture_nll(GaussianMixture(zero, one, zero), zero[0])
        tensor([[0.9189]])
    """
    check_form(form)
    check_target(mixture, target)
    if form == 'paper':
        return _floored(mixture.log_prob(target), eps)
    # as the authors' code has it; it is no density, and not eq. 3
    scale = mixture.variances
    densities = log_gaussian(target, mixture.means, scale, scale + 0.3)
    return _floored(mixture.mixed(densities), eps) / 2


@MODELS.register_module()
class MixtureNLLLoss(nn.Module):
    """:func:`mixture_nll` as a loss of a config.

    Args:
        eps (float): See :func:`mixture_nll`, >= 0.
        form (str): 'paper' or 'reference'.
        reduction (str): 'none', 'mean' or 'sum'.
        loss_weight (float): Factor of the loss.
    """

    def __init__(self,
                 eps: float = 1e-9,
                 form: str = 'paper',
                 reduction: str = 'mean',
                 loss_weight: float = 1.0) -> None:
        super().__init__()
        if eps < 0:
            raise ValueError(f'MixtureNLLLoss.eps is {eps}, must be >= 0.')
        self.eps = eps
        self.form = check_form(form)
        self.reduction = check_reduction(reduction)
        self.loss_weight = loss_weight

    def forward(self,
                pred: GaussianMixture,
                target: Tensor,
                weight: Optional[Tensor] = None,
                avg_factor: Optional[Union[float, Tensor]] = None,
                reduction_override: Optional[str] = None) -> Tensor:
        """The reduced loss.

        Args:
            pred (GaussianMixture): [n, K, D].
            target (Tensor): [n, D].
            weight (Tensor, optional): [n, D] or [n, 1].
            avg_factor (float | Tensor, optional): Divisor for 'mean'.
            reduction_override (str, optional): In place of ``reduction``.

        Returns:
            Tensor: A scalar, or [n, D] for 'none'.
        """
        reduction = check_reduction(reduction_override or self.reduction)
        loss = mixture_nll(pred, target, self.eps, self.form)
        return self.loss_weight * reduce(loss, weight, reduction, avg_factor)


def check_target(mixture: GaussianMixture, target: Tensor) -> None:
    """Raise a ValueError unless targets [n, D] fit a mixture [n, K, D]."""
    shape = mixture.means.shape
    if target.shape != (*shape[:-2], shape[-1]):
        raise ValueError(
            f'a mixture of shape {tuple(shape)} ([n, K, D]) got targets of '
            f'shape {tuple(target.shape)}, which must be [n, D].')


def check_form(form: str) -> str:
    """The form, or a ValueError that lists what there is."""
    if form not in FORMS:
        raise ValueError(f'MixtureNLLLoss.form is {form!r}, must be one of '
                         f'{", ".join(FORMS)}.')
    return form


def _floored(log_prob: Tensor, eps: float) -> Tensor:
    """-log(p + eps); logsigmoid is finite in its second derivative too."""
    if eps == 0:  # whose logarithm there is not
        return -log_prob
    log_eps = math.log(eps)
    return F.logsigmoid(log_eps - log_prob) - log_eps
