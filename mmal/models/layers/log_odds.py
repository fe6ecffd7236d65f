"""Softmax probabilities as the logits of sigmoids."""
import torch
from torch import Tensor


def softmax_log_odds(logits: Tensor) -> Tensor:
    r"""log p - log(1 - p) of each class of a softmax.

    Their sigmoids are the softmax, so losses and code for sigmoids take
    them:

    .. math:: z_k - \log \sum_{j \ne k} e^{z_j}

    Nothing is subtracted from 1 where p is close to it, so the result is
    finite, and its gradient too, whatever the precision.

    Args:
        logits (Tensor): z [..., C] of two or more classes.

    Returns:
        Tensor: [..., C].

    Example:
        >>> softmax_log_odds(torch.tensor([0., 0., 2.])).sigmoid()
        tensor([0.1065, 0.1065, 0.7870])
    """
    log_p = logits.log_softmax(-1)
    is_top = torch.zeros_like(logits, dtype=torch.bool).scatter(
        -1, logits.argmax(-1, keepdim=True), True)
    # Of all but the most probable class p is at most 1/2, and 1 - p exact.
    log_rest = torch.log1p(-log_p.masked_fill(is_top, -torch.inf).exp())
    log_others = log_p.masked_fill(is_top, -torch.inf).logsumexp(
        -1, keepdim=True)
    return log_p - torch.where(is_top, log_others, log_rest)
