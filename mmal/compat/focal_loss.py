"""Sigmoid focal loss and its derivative, with mmcv's arithmetic."""
from typing import Tuple

import torch
from torch import Tensor

# mmcv clamps probabilities here, for every float type.
_TINY = torch.finfo(torch.float32).tiny


def sigmoid_focal_loss_forward(input: Tensor, target: Tensor, weight: Tensor,
                               output: Tensor, gamma: float,
                               alpha: float) -> None:
    """Focal loss of Lin et al., ICCV 2017, eq. 5; fills ``output``.

    ``-alpha (1-p)^gamma log p`` where the class is the target, and
    ``-(1-alpha) p^gamma log(1-p)`` elsewhere, with p = sigmoid(input).
    float16 and bfloat16 are computed in float32.

    Args:
        input (Tensor): (N, C), logits.
        target (Tensor): int64 (N, ), a class in [0, C); anything else is
            background.
        weight (Tensor): (C, ) factor by target class, or empty. Background
            has the factor 1 (mmcv reads past the end of ``weight``).
        output (Tensor): (N, C).
        gamma (float): focusing exponent, >= 0.
        alpha (float): share of the positive term, in [0, 1].
    """
    p, positive = _prepare(input, target)
    q = 1 - p
    loss_positive = -alpha * q.pow(gamma) * p.clamp(min=_TINY).log()
    loss_negative = -(1 - alpha) * p.pow(gamma) * q.clamp(min=_TINY).log()
    loss = torch.where(positive, loss_positive, loss_negative)
    output.copy_(loss * _row_weights(target, weight, loss))


def sigmoid_focal_loss_backward(input: Tensor, target: Tensor, weight: Tensor,
                                grad_input: Tensor, gamma: float,
                                alpha: float) -> None:
    """Derivative of the loss with respect to the logits, elementwise.

    Fills ``grad_input`` (N, C); the other arguments are those of
    :func:`sigmoid_focal_loss_forward`.
    """
    p, positive = _prepare(input, target)
    q = 1 - p
    log_p, log_q = p.clamp(min=_TINY).log(), q.clamp(min=_TINY).log()
    grad_positive = -alpha * q.pow(gamma) * (q - gamma * p * log_p)
    grad_negative = -(1 - alpha) * p.pow(gamma) * (gamma * q * log_q - p)
    grad = torch.where(positive, grad_positive, grad_negative)
    grad_input.copy_(grad * _row_weights(target, weight, grad))


def _prepare(input: Tensor, target: Tensor) -> Tuple[Tensor, Tensor]:
    """Probabilities and the mask of positives, both (N, C)."""
    logits = input.detach()
    if logits.dtype != torch.float64:
        logits = logits.float()
    classes = torch.arange(input.size(1), device=input.device)
    return logits.sigmoid(), target[:, None] == classes


def _row_weights(target: Tensor, weight: Tensor, like: Tensor) -> Tensor:
    """(N, 1) factors."""
    if weight.numel() == 0:
        return like.new_ones(1)
    padded = torch.cat([weight.detach().to(like), like.new_ones(1)])
    known = (target >= 0) & (target < weight.numel())
    return padded[torch.where(known, target, weight.numel())][:, None]
