"""torchvision's compiled operators, where they can be used."""
import functools
from types import ModuleType
from typing import Optional

import torch


@functools.cache
def torchvision_ops(device_type: str) -> Optional[ModuleType]:
    """``torchvision.ops`` where it works on a kind of device, else None.

    Args:
        device_type (str): ``cpu``, ``cuda``, …: ``tensor.device.type``.
    """
    # A torchvision of another torch fails at import, one built for CPU only
    # at the first call; both raise more kinds of errors than ImportError.
    try:
        from torchvision import ops
        ops.nms(torch.zeros(1, 4, device=device_type),
                torch.zeros(1, device=device_type), 0.5)
    except (ImportError, RuntimeError, OSError, AttributeError):
        return None
    return ops
