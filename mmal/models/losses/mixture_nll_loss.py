"""Negative log-likelihood of a box under a Gaussian mixture."""
import math
from typing import Optional, Union

import torch.nn.functional as F
from torch import Tensor, nn

from mmal.models.layers import GaussianMixture
from mmal.models.layers.gaussian_mixture import log_gaussian
from mmal.registry import MODELS
from .reduction import check_reduction, reduce

FORMS = ('exact', 'paper', 'reference')
_PAPER_EPS = 1e-9


def mixture_nll(mixture: GaussianMixture,
                target: Tensor,
                eps: Optional[float] = None,
                form: str = 'exact',
                beta: float = 0.) -> Tensor:
    """-log sum_k pi_k N(target | mu_k, Sigma_k), eq. 3 of MDN.

    Args:
        mixture (GaussianMixture): [n, K, D].
        target (Tensor): [n, D].
        eps (float, optional): Added to the density, which bounds the loss by
            -log(eps), and leaves boxes that are far off without a gradient.
            None is 0 for the form 'exact' and 1e-9 for the others. (The paper
            writes e^{-9}, which may be read as 1.2e-4.)
        form (str): 'exact'; 'paper', the same with the paper's eps; or
            'reference': the authors' code takes ``variances`` for standard
            deviations, adds 0.3 to them in the normaliser only, and halves
            the loss.
        beta (float): Each loss is multiplied by the mixture's own variance to
            this power, through which no gradient flows: the β-NLL of Seitzer
            et al., "On the Pitfalls of Heteroscedastic Uncertainty Estimation
            with Probabilistic Neural Networks", ICLR 2022. With 0 certain
            boxes pull hardest, with 1 the means learn as from squared errors.

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
    if eps is None:
        eps = 0. if form == 'exact' else _PAPER_EPS
    if form == 'reference':
        # as the authors' code has it; it is no density, and not eq. 3
        scale = mixture.variances
        densities = log_gaussian(target, mixture.means, scale, scale + 0.3)
        loss = _floored(mixture.mixed(densities), eps) / 2
    else:
        loss = _floored(mixture.log_prob(target), eps)
    if beta:
        variance = mixture.aleatoric + mixture.epistemic
        loss = loss * variance.detach()**beta
    return loss


@MODELS.register_module()
class MixtureNLLLoss(nn.Module):
    """:func:`mixture_nll` as a loss of a config.

    Args:
        eps (float, optional): See :func:`mixture_nll`, >= 0.
        form (str): 'exact', 'paper' or 'reference'.
        beta (float): See :func:`mixture_nll`, in [0, 1].
        reduction (str): 'none', 'mean' or 'sum'.
        loss_weight (float): Factor of the loss.
    """

    def __init__(self,
                 eps: Optional[float] = None,
                 form: str = 'exact',
                 beta: float = 0.,
                 reduction: str = 'mean',
                 loss_weight: float = 1.0) -> None:
        super().__init__()
        if eps is not None and not eps >= 0:
            raise ValueError(f'MixtureNLLLoss.eps is {eps}, must be >= 0.')
        if not 0 <= beta <= 1:
            raise ValueError(f'MixtureNLLLoss.beta is {beta}, must be in '
                             '[0, 1].')
        self.eps = eps
        self.form = check_form(form)
        self.beta = beta
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
        loss = mixture_nll(pred, target, self.eps, self.form, self.beta)
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
