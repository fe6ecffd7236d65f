"""Where a run computes."""
from __future__ import annotations

import importlib
import sys
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size

from .fingerprint import differences


def environment(cfg: Config) -> dict[str, Any]:
    """What the numbers of a run depend on beside its config and data.

    Args:
        cfg (Config): The config of the run.

    Returns:
        dict: The number of processes (each trains on a batch of its own), of
        images that one optimizer step sees, of threads of a process (which
        sum in another order) and of its workers (each draws augmentations of
        its own), the device and versions.
    """
    versions = {
        name: str(importlib.import_module(name).__version__)
        for name in ('mmal', 'torch', 'mmengine', 'mmcv', 'mmdet', 'numpy',
                     'cv2')
    }
    gpu = torch.cuda.is_available()
    loader = cfg.train_dataloader
    steps = (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    return dict(
        processes=get_world_size(),
        effective_batch=get_world_size() * loader.get('batch_size', 1) * steps,
        threads=torch.get_num_threads(),
        workers=loader.get('num_workers', 0),
        device=torch.cuda.get_device_name() if gpu else 'cpu',
        python='.'.join(map(str, sys.version_info[:3])),
        **versions)


def environment_changes(before: dict, now: dict) -> list[str]:
    """What differs, with both values: ``'processes: 1 -> 2'``.

    Args:
        before (dict): As a run recorded it; what an older version did not
            record is not compared.
        now (dict): See :func:`environment`.
    """
    return differences(before, {k: v for k, v in now.items() if k in before})
