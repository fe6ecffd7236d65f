"""Batches kept in memory up to a limit and made again beyond it."""
from contextlib import contextmanager
from typing import Callable, Dict, Iterator, List, Optional, Tuple

import torch

from .base import OperatorBatch


class CachedBatches:
    """A sequence of batches of which as many as fit are kept.

    The first batches that fit stay, and the one made last; the others are
    made by the factory each time. (Dropping the least recently used one
    instead would, as solvers pass over all batches in turn, drop each just
    before its next use.)

    Args:
        factory (Callable[[int], OperatorBatch]): Makes batch ``index``; must
            give the same batch each time.
        length (int): Number of batches.
        limit (int): Bytes to keep. Defaults to 2 GiB.

    Attributes:
        nbytes (int): Bytes kept now.
        builds (int): How often the factory was called.
    """

    def __init__(self,
                 factory: Callable[[int], OperatorBatch],
                 length: int,
                 limit: int = 2 << 30) -> None:
        self.factory = factory
        self.length = length
        self.limit = limit
        self.nbytes = 0
        self.builds = 0
        self._kept: Dict[int, OperatorBatch] = {}
        self._last: Tuple[int, Optional[OperatorBatch]] = (-1, None)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> OperatorBatch:
        if not 0 <= index < self.length:
            raise IndexError(f'batch {index} of {self.length}')
        if index in self._kept:
            return self._kept[index]
        if index == self._last[0]:
            return self._last[1]
        # Solvers run without gradients, but a factory needs them.
        with torch.enable_grad(), count_saved_bytes() as counted:
            batch = self.factory(index)
        self.builds += 1
        size = counted[0] if batch.nbytes is None else batch.nbytes
        if self.nbytes + size <= self.limit:
            self._kept[index] = batch
            self.nbytes += size
        else:
            self._last = (index, batch)
        return batch


@contextmanager
def count_saved_bytes() -> Iterator[List[int]]:
    """Count the memory that autograd saves inside the block, once a storage.

    Yields:
        list[int]: One number, the bytes so far.
    """
    total, seen = [0], set()

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            total[0] += storage.nbytes()
        # Detached, as keeping an output itself would make a reference cycle.
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        yield total


def unique_bytes(tensors) -> int:
    """Bytes of the storages behind ``tensors``, shared ones once."""
    sizes = {}
    for tensor in tensors:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
    return sum(sizes.values())
