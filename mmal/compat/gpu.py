"""torchvision's operators, for tensors on CUDA."""
import functools
from types import ModuleType
from typing import Optional

import torch
from torch import Tensor


def torchvision_ops(tensor: Tensor) -> Optional[ModuleType]:
    """``torchvision.ops`` where it can work on ``tensor``, else None.

    Args:
        tensor (Tensor): any tensor; only its device is looked at.
    """
    return _usable_ops() if tensor.is_cuda else None


@functools.lru_cache(maxsize=1)
def _usable_ops() -> Optional[ModuleType]:
    # A torchvision of another torch fails at import, one built for CPU only
    # at the first call; both raise more kinds of errors than ImportError.
    try:
        from torchvision import ops
        ops.nms(torch.zeros(1, 4, device='cuda'),
                torch.zeros(1, device='cuda'), 0.5)
    except (ImportError, RuntimeError, OSError, AttributeError):
        return None
    return ops
