"""Where a run computes."""
from __future__ import annotations

import importlib
import sys
from typing import Any

import torch
from mmengine.dist import get_world_size


def environment() -> dict[str, Any]:
    """What the numbers of a run depend on beside its config and data.

    Returns:
        dict: The number of processes (each trains on a batch of its own) and
        of threads (which sum in another order), the device and versions.
    """
    versions = {
        name: str(importlib.import_module(name).__version__)
        for name in ('mmal', 'torch', 'mmengine', 'mmcv', 'mmdet', 'numpy')
    }
    gpu = torch.cuda.is_available()
    return dict(
        processes=get_world_size(),
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name() if gpu else 'cpu',
        python='.'.join(map(str, sys.version_info[:3])),
        **versions)
