"""torchvision's compiled operators, where they can be used."""
import functools
import logging
from types import ModuleType
from typing import Optional

import torch
from mmengine.logging import print_log


@functools.cache
def torchvision_ops(device_type: str) -> Optional[ModuleType]:
    """``torchvision.ops`` where it works on a kind of device, else None.

    Warns the first time that there is none for a GPU.

    Args:
        device_type (str): ``cpu``, ``cuda``, …: ``tensor.device.type``.
    """
    # A torchvision of another torch fails at import, one built for CPU only
    # at the first call; both raise more kinds of errors than ImportError.
    try:
        from torchvision import ops
        ops.nms(torch.zeros(1, 4, device=device_type),
                torch.zeros(1, device=device_type), 0.5)
    except (ImportError, RuntimeError, OSError, AttributeError) as e:
        if device_type == 'cuda':
            print_log(
                'nms and roi_align run as stand-ins on this GPU, nms by a '
                f'copy to the CPU, as torchvision cannot be used ({e}). '
                'Installing the torchvision that fits torch '
                f'{torch.__version__} makes them faster.', 'current',
                logging.WARNING)
        return None
    return ops
