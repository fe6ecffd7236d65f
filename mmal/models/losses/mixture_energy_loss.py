"""Energy score of a box under a Gaussian mixture."""
from __future__ import annotations

import math
from typing import Optional, Union

import torch
from torch import Tensor, nn

from mmal.models.layers import GaussianMixture
from mmal.registry import MODELS
from .mixture_nll_loss import check_target
from .reduction import check_reduction, reduce

# below it a draw has no digits left that could move
_LEAST_DENSITY = 1e-12


def mixture_crps(mixture: GaussianMixture, target: Tensor) -> Tensor:
    """E|X - y| - E|X - X'| / 2 of each coordinate, in closed form.

    The continuous ranked probability score, which is the energy score of one
    dimension. With A(m, v) = E|Z| of a Gaussian Z of mean m and variance v,

        sum_k pi_k A(y - mu_k, v_k)
        - 1/2 sum_jk pi_j pi_k A(mu_j - mu_k, v_j + v_k)

    (Grimit et al., "The continuous ranked probability score for circular
    variables and its application to mesoscale forecast ensemble
    verification", 2006, eq. 5).

    Args:
        mixture (GaussianMixture): [n, K, D].
        target (Tensor): [n, D].

    Returns:
        Tensor: [n, D] >= 0 in the unit of the target, float32 or better.

    Raises:
        ValueError: If the shapes do not fit.

    Example:
        >>> zero, one = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
        >>> mixture_crps(GaussianMixture(zero, one, zero), zero[0])
        tensor([[0.2337]])
    """
    check_target(mixture, target)
    means, variances = mixture.means, mixture.variances
    weights = mixture.weights
    to_target = weights * _mean_distance(target.unsqueeze(-2) - means,
                                         variances)
    # all pairs of components [n, K, K, D]
    pairs = weights.unsqueeze(-2) * weights.unsqueeze(-3) * _mean_distance(
        means.unsqueeze(-2) - means.unsqueeze(-3),
        variances.unsqueeze(-2) + variances.unsqueeze(-3))
    return to_target.sum(-2) - pairs.sum((-2, -3)) / 2


def mixture_energy(mixture: GaussianMixture, target: Tensor,
                   draws: Tensor) -> Tensor:
    """E|X - y| - E|X - X'| / 2 of a whole box, from draws of it.

    The energy score (Gneiting and Raftery, "Strictly Proper Scoring Rules,
    Prediction, and Estimation", 2007, eq. 22) with the Euclidean distance of
    all D coordinates; as a loss of detectors: Harakeh and Waslander,
    "Estimating and Evaluating Regression Predictive Uncertainty in Deep
    Object Detectors", ICLR 2021. Two draws that follow one another, the last
    and the first too, are the pairs of the second term.

    Args:
        mixture (GaussianMixture): [n, K, D].
        target (Tensor): [n, D].
        draws (Tensor): [M, n, D] from :func:`draw`, M >= 2.

    Returns:
        Tensor: [n], an estimate without bias.

    Raises:
        ValueError: If the shapes do not fit.
    """
    check_target(mixture, target)
    to_target = torch.linalg.vector_norm(draws - target, dim=-1)
    between = torch.linalg.vector_norm(draws - draws.roll(1, 0), dim=-1)
    return to_target.mean(0) - between.mean(0) / 2


def draw(mixture: GaussianMixture,
         samples: int,
         generator: Optional[torch.Generator] = None) -> Tensor:
    """Random boxes of a mixture that know their derivatives.

    A draw x of a distribution function F moves with a parameter so that F(x)
    stays, by -(dF / dparameter) / density(x) (Figurnov et al., "Implicit
    Reparameterization Gradients", NeurIPS 2018): so do these, by means,
    variances and weights alike. Second derivatives are right too.

    Args:
        mixture (GaussianMixture): [n, K, D], coordinates independent.
        samples (int): M.
        generator (torch.Generator, optional): Torch's own when None.

    Returns:
        Tensor: [M, n, D].
    """
    means, scale = mixture.means, mixture.variances.sqrt()
    shape = (samples, *means.shape[:-2], means.size(-1))
    with torch.no_grad():
        # which component by where a uniform number lies among their weights
        uniform = torch.rand(shape, generator=generator, device=means.device,
                             dtype=means.dtype)
        ends = mixture.weights.expand_as(means).cumsum(-2)[..., :-1, :]
        chosen = (uniform.unsqueeze(-2) > ends).sum(-2, keepdim=True)
        normal = torch.randn(shape, generator=generator, device=means.device,
                             dtype=means.dtype)
        x = torch.take_along_dim(
            means.expand(samples, *means.shape), chosen, -2).squeeze(-2) + \
            torch.take_along_dim(
                scale.expand(samples, *scale.shape), chosen, -2).squeeze(-2) \
            * normal
    # Newton's steps to where F is what it is now: they do not move x, but each
    # makes it twice as many derivatives of the parameters that are right.
    level = None
    for _ in range(2):
        z = (x.unsqueeze(-2) - means) / scale
        below = (mixture.weights * torch.special.ndtr(z)).sum(-2)
        level = below.detach() if level is None else level
        density = mixture.log_prob(x).exp().clamp(min=_LEAST_DENSITY)
        x = x - (below - level) / density
    return x


@MODELS.register_module()
class MixtureEnergyLoss(nn.Module):
    """Energy score of boxes as a loss of a config.

    In place of :class:`MixtureNLLLoss`: it is proper as well, but grows as
    the error does, not as its square over the variance.

    Args:
        samples (int): 0 is the closed form of each coordinate,
            :func:`mixture_crps`. M >= 2 is the score of the whole box,
            :func:`mixture_energy`, of M draws from torch's generator in
            training mode, and of the same numbers each time in eval mode;
            each of the D coordinates then has an equal share of it.
        reduction (str): 'none', 'mean' or 'sum'.
        loss_weight (float): Factor of the loss.

    Raises:
        ValueError: If ``samples`` is none of these.
    """

    def __init__(self,
                 samples: int = 0,
                 reduction: str = 'mean',
                 loss_weight: float = 1.0) -> None:
        super().__init__()
        if not isinstance(samples, int) or samples < 0 or samples == 1:
            raise ValueError(f'MixtureEnergyLoss.samples is {samples!r}: give '
                             '0 for the closed form, or a number >= 2.')
        self.samples = samples
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
        if not self.samples:
            loss = mixture_crps(pred, target)
        else:
            generator = None if self.training else torch.Generator(
                target.device).manual_seed(0)
            energy = mixture_energy(pred, target,
                                    draw(pred, self.samples, generator))
            coordinates = target.size(-1)
            loss = (energy / coordinates).unsqueeze(-1).expand(
                -1, coordinates)
        return self.loss_weight * reduce(loss, weight, reduction, avg_factor)


def _mean_distance(mean: Tensor, variance: Tensor) -> Tensor:
    """E|Z| of Gaussians: 2 s phi(m / s) + m (2 Phi(m / s) - 1)."""
    scale = variance.sqrt()
    z = mean / scale
    return (mean * torch.erf(z / math.sqrt(2)) +
            scale * math.sqrt(2 / math.pi) * (-z.square() / 2).exp())
