"""Processes: starting them, one working for all, all choosing together.

Plain torch; without a process group everything works in this one process.
"""
from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Callable, Optional, Protocol

import numpy as np
import torch
import torch.distributed as torch_dist

from .heartbeat import INTERVAL, PATIENCE, Heartbeat

# Process 0 writes reports and counts boxes while the others wait. Whoever will
# never come is found by the heartbeat.
TIMEOUT = timedelta(hours=12)
_left: list[torch_dist.ProcessGroup] = []
_heartbeat: Optional[Heartbeat] = None


def is_distributed() -> bool:
    """Whether this process belongs to a process group."""
    return torch_dist.is_available() and torch_dist.is_initialized()


def setup_dist(launcher: str,
               interval: float = INTERVAL,
               patience: float = PATIENCE) -> None:
    """Join the process group of a launcher, with gloo where there is no GPU.

    Args:
        launcher (str): 'none', 'pytorch', 'slurm' or 'mpi'.
        interval, patience (float): Seconds; see
            :class:`~mmal.heartbeat.Heartbeat`.
    """
    global _heartbeat
    if launcher == 'none' or is_distributed():
        return
    if launcher == 'pytorch' and not torch.cuda.is_available():
        # mmengine's way selects a GPU first
        torch_dist.init_process_group('gloo', timeout=TIMEOUT)
    else:
        from mmengine.dist import init_dist
        init_dist(
            launcher,
            backend='nccl' if torch.cuda.is_available() else 'gloo',
            timeout=int(TIMEOUT.total_seconds()))
    os.environ.setdefault('LOCAL_RANK', '0')
    if torch_dist.get_world_size() > 1:
        _heartbeat = Heartbeat(interval, patience)


def close_dist() -> None:
    """Leave the process group, if there is one.

    Its last reference stays here. Whoever drops it, a DistributedDataParallel
    that outlived it or another group that takes its place here, does so while
    holding the GIL, and waits for the thread of gloo, which may just be
    waiting for the GIL, or be missing in a fork: a process that never ends.
    """
    global _heartbeat
    if _heartbeat is not None:
        _heartbeat.close()
        _heartbeat = None
    if is_distributed():
        _left.append(torch_dist.group.WORLD)
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
    if torch_dist.get_rank() == 0:
        try:
            outcome[0] = work()
        except Exception as e:
            outcome[1] = e
    try:
        torch_dist.broadcast_object_list(outcome, src=0)
    except Exception:
        # the error itself could not be pickled: at least this process has it
        if outcome[1] is not None:
            raise outcome[1]  # noqa: B904
        raise
    if outcome[1] is not None:
        outcome[1].everywhere = True
        raise outcome[1]
    return outcome[0]


def only_on_main(work: Callable[[], Any]) -> Any:
    """Do something in process 0 that no other process shall see.

    An error in process 0 is raised in all of them.

    Args:
        work (callable): Takes nothing.

    Returns:
        Its result in process 0, None in the others.
    """
    result = []
    on_main(lambda: result.append(work()))
    return result[0] if result else None


class Processes(Protocol):
    """Processes that call the same methods in the same order.

    ``rank`` is the number of this one of ``size``.
    """
    rank: int
    size: int

    def gather(self, numbers: Sequence[float]) -> np.ndarray:
        """float64 [W, M]: the M numbers of each of W processes."""

    def gather_objects(self, thing: Any) -> list:
        """The thing of each process; it must be picklable."""


class SingleProcess:
    """A process that works alone."""

    rank = 0
    size = 1

    def gather(self, numbers: Sequence[float]) -> np.ndarray:
        """float64 [1, M]."""
        return np.asarray(numbers, np.float64)[None]

    def gather_objects(self, thing: Any) -> list:
        """A list of one."""
        return [thing]


class ProcessGroup:
    """The processes of torch.distributed.

    Args:
        group (ProcessGroup, optional): A group of torch.distributed; all
            processes when None.
        device (str): Where numbers are exchanged: 'cpu' for gloo, 'cuda' for
            nccl.
    """

    def __init__(self,
                 group: Optional[torch_dist.ProcessGroup] = None,
                 device: str = 'cpu') -> None:
        self.group = group
        self.device = device
        self.rank = torch_dist.get_rank(group)
        self.size = torch_dist.get_world_size(group)

    def gather(self, numbers: Sequence[float]) -> np.ndarray:
        """float64 [W, M]."""
        own = torch.as_tensor(np.asarray(numbers, np.float64))
        own = own.to(self.device)
        gathered = [torch.empty_like(own) for _ in range(self.size)]
        torch_dist.all_gather(gathered, own, group=self.group)
        return torch.stack(gathered).cpu().numpy()

    def gather_objects(self, thing: Any) -> list:
        """A list of W."""
        gathered = [None] * self.size
        torch_dist.all_gather_object(gathered, thing, group=self.group)
        return gathered


def raise_everywhere(processes: Processes, work: Callable[[], Any]) -> Any:
    """Do something in every process; if one fails, none waits for ever.

    Args:
        processes (Processes): All of them call this.
        work (callable): Takes nothing and does not talk to the others.

    Returns:
        What this process' work returned.

    Raises:
        ValueError: The first error of any process.
    """
    result, error = None, None
    try:
        result = work()
    except ValueError as e:
        error = str(e)
    except Exception as e:
        error = f'{type(e).__name__}: {e}'
    errors = [e for e in processes.gather_objects(error) if e is not None]
    if errors:
        raise ValueError(errors[0])
    return result
