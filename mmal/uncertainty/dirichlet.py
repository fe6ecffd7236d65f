"""Uncertainties of a Dirichlet distribution over class probabilities."""
import torch
from torch import Tensor

from .entropy import categorical_entropy
from .precision import at_least_float32


def dirichlet_expected_entropy(concentration: Tensor) -> Tensor:
    r"""Mean entropy of the distributions that a Dirichlet draws.

    The aleatoric part: with :math:`\pi \sim Dir(\alpha)`, total evidence
    :math:`\alpha_0 = \sum_k \alpha_k`, means :math:`m = \alpha / \alpha_0`
    and the digamma function :math:`\psi`,

    .. math::
        E[H(\pi)] = \sum_k m_k (\psi(\alpha_0 + 1) - \psi(\alpha_k + 1))

    Args:
        concentration (Tensor): alpha [..., C], >= 0; not all of a row 0.

    Returns:
        Tensor: [...] in [0, log C], in nats, float32 or better.

    Example:
        >>> dirichlet_expected_entropy(torch.tensor([1., 1.]))  # uniform
        tensor(0.5000)
    """
    alpha = at_least_float32(concentration)
    total = alpha.sum(-1, keepdim=True)
    digammas = torch.digamma(total + 1) - torch.digamma(alpha + 1)
    # No entropy is negative; what rounding leaves below 0 is.
    return (alpha / total * digammas).sum(-1).clamp(min=0)


def dirichlet_mutual_information(concentration: Tensor) -> Tensor:
    """What the class would tell of the probabilities it is drawn with.

    The epistemic part: the entropy of the mean minus the mean entropy, in
    closed form where others average samples. It falls about as (C - 1) / 2
    over the total evidence.

    Args:
        concentration (Tensor): alpha [..., C], >= 0; not all of a row 0.

    Returns:
        Tensor: [...] in [0, log C], in nats, float32 or better.

    Example:
        >>> alpha = torch.tensor([[1., 1.], [100., 100.]])
        >>> dirichlet_mutual_information(alpha)
        tensor([0.1931, 0.0025])
    """
    alpha = at_least_float32(concentration)
    mean = alpha / alpha.sum(-1, keepdim=True)
    information = categorical_entropy(mean) - dirichlet_expected_entropy(alpha)
    return information.clamp(min=0)
