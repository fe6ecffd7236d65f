"""Starting processes' communication."""
from __future__ import annotations

import os
from datetime import timedelta

import torch
import torch.distributed as torch_dist
from mmengine.dist import init_dist, is_distributed

from mmal.communication import on_main

__all__ = ['close_dist', 'on_main', 'setup_dist']

# process 0 writes reports and counts boxes while the others wait
TIMEOUT = timedelta(hours=12)


def setup_dist(launcher: str) -> None:
    """Join the process group of a launcher, with gloo where there is no GPU.

    Args:
        launcher (str): 'none', 'pytorch', 'slurm' or 'mpi'.
    """
    if launcher == 'none' or is_distributed():
        return
    if torch.cuda.is_available():
        init_dist(launcher, backend='nccl', timeout=_seconds())
    elif launcher == 'pytorch':  # mmengine's way needs a GPU to select
        torch_dist.init_process_group('gloo', timeout=TIMEOUT)
    else:
        init_dist(launcher, backend='gloo', timeout=_seconds())
    os.environ.setdefault('LOCAL_RANK', '0')


def _seconds() -> int:
    return int(TIMEOUT.total_seconds())


def close_dist() -> None:
    """Leave the process group, if there is one."""
    if torch_dist.is_available() and torch_dist.is_initialized():
        torch_dist.destroy_process_group()
