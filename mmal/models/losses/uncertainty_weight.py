"""The factor that favours certain predictions."""
from torch import Tensor

from mmal.models.layers import ClassMixture, GaussianMixture


def uncertainty_weight(box: GaussianMixture,
                       cls: ClassMixture,
                       label: Tensor,
                       alpha: float = 4.0,
                       detach: bool = True) -> Tensor:
    """(1 - u_loc) / (1 + u_r)^alpha, the factor of eq. 9 of MDN.

    u_loc is the mean aleatoric uncertainty of the four coordinates, u_r the
    diagonal element of eq. 8 for the true class.

    Args:
        box (GaussianMixture): [n, K, 4], variances at most 1.
        cls (ClassMixture): [n, K, C].
        label (Tensor): int64 [n] in [0, C).
        alpha (float): Strength.
        detach (bool): Whether to stop the gradient: the factor is a weight.

    Returns:
        Tensor: [n] in [0, 1].
    """
    u_loc = box.aleatoric.mean(dim=-1)
    index = label.long().unsqueeze(-1)
    u_r = cls.softmax_aleatoric.gather(-1, index).squeeze(-1)
    # rounding may leave u_loc above 1, and the factor below 0
    factor = (1 - u_loc).clamp(min=0) / (1 + u_r)**alpha
    return factor.detach() if detach else factor
