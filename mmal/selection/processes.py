"""How processes that hold parts of a pool talk while they select."""
from __future__ import annotations

from typing import Any, Callable, Optional, Protocol, Sequence

import numpy as np
import torch
import torch.distributed as dist


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


class Alone:
    """A single process."""

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
                 group: Optional[dist.ProcessGroup] = None,
                 device: str = 'cpu') -> None:
        self.group = group
        self.device = device
        self.rank = dist.get_rank(group)
        self.size = dist.get_world_size(group)

    def gather(self, numbers: Sequence[float]) -> np.ndarray:
        """float64 [W, M]."""
        own = torch.as_tensor(np.asarray(numbers, np.float64))
        own = own.to(self.device)
        out = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(out, own, group=self.group)
        return torch.stack(out).cpu().numpy()

    def gather_objects(self, thing: Any) -> list:
        """A list of W."""
        out = [None] * self.size
        dist.all_gather_object(out, thing, group=self.group)
        return out


def together(processes: Processes, work: Callable[[], Any]) -> Any:
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
