"""The least precision of probabilistic quantities."""
import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """``x`` in float32, or as it is if it is float64 already."""
    return x if x.dtype == torch.float64 else x.float()
