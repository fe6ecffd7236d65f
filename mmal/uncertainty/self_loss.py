"""The loss of a prediction that is taken for its own label."""
import torch
from torch import Tensor

from .precision import at_least_float32


def categorical_self_loss(probs: Tensor, dim: int = -1) -> Tensor:
    """-log p_y, y = argmax_c p_c: cross-entropy with the predicted label.

    Its derivative by the logits of a softmax is p - onehot(y).

    Args:
        probs (Tensor): Probabilities that sum to 1 over ``dim``.
        dim (int): The dimension of the C >= 1 classes.

    Returns:
        Tensor: Without ``dim``, in [0, log C], float32 or better. Of equal
        probabilities the first is the label.

    Example:
        >>> categorical_self_loss(torch.tensor([[.5, .5], [1., 0.]]))
        tensor([0.6931, 0.0000])
    """
    probs = at_least_float32(probs)
    label = probs.argmax(dim, keepdim=True)
    return 0 - probs.gather(dim, label).squeeze(dim).log()


def binary_self_loss(probs: Tensor) -> Tensor:
    """-log max(p, 1 - p), elementwise: the label is whether p > 0.5.

    Its derivative by the logit of a sigmoid is p - y.

    Args:
        probs (Tensor): Any shape, in [0, 1].

    Returns:
        Tensor: The same shape, in [0, log 2], float32 or better.

    Example:
        >>> binary_self_loss(torch.tensor([0., 0.5, 1.]))
        tensor([0.0000, 0.6931, 0.0000])
    """
    probs = at_least_float32(probs)
    # Chosen first: the logarithm of the other would have no derivative at 0.
    return 0 - torch.where(probs > 0.5, probs - 1, -probs).log1p()
