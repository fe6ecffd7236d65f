"""Starting processes' communication, and doing a thing once for all."""
from __future__ import annotations

import os
from datetime import timedelta
from typing import Any, Callable

import torch
import torch.distributed as torch_dist
from mmengine.dist import (
    broadcast_object_list,
    init_dist,
    is_distributed,
    is_main_process,
)

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


def on_main(work: Callable[[], Any]) -> Any:
    """Do something in process 0 and give every process its result.

    An error in process 0 is raised in all of them, so that none waits for
    ever.

    Args:
        work (callable): Takes nothing; its result must be picklable.
    """
    if not is_distributed():
        return work()
    outcome = [None, None]
    if is_main_process():
        try:
            outcome[0] = work()
        except Exception as e:
            outcome[1] = e
    try:
        broadcast_object_list(outcome)
    except Exception:
        if outcome[1] is not None:
            raise outcome[1]  # noqa: B904
        raise
    if outcome[1] is not None:
        outcome[1].everywhere = True
        raise outcome[1]
    return outcome[0]
