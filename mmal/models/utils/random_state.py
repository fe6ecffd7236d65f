"""Work that leaves no trace in the random numbers of others."""
from contextlib import AbstractContextManager
from typing import Optional

import torch


def preserve_rng_state(
        device: Optional[torch.device] = None) -> AbstractContextManager:
    """Inside, random numbers may be drawn; afterwards it is as before.

    Args:
        device (torch.device, optional): Where they are drawn, beside the CPU.
    """
    on_gpu = device is not None and device.type == 'cuda'
    return torch.random.fork_rng(devices=[device] if on_gpu else [])
