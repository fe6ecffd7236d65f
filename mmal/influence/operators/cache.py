"""Batches kept in memory up to a limit and made again beyond it."""
from typing import Callable, Dict, Optional, Tuple

import torch
from torch import Tensor

from .base import OperatorBatch
from .storage import DeviceStorage, SavedTensors, saved_tensors


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
        storage (optional): Where, one of :data:`STORAGES`; on the device
            where they are made when None.

    Attributes:
        nbytes (int): Bytes kept now.
        builds (int): How often the factory was called.
    """

    def __init__(self,
                 factory: Callable[[int], OperatorBatch],
                 length: int,
                 limit: int = 2 << 30,
                 storage=None) -> None:
        self.factory = factory
        self.length = length
        self.limit = limit
        self.storage = DeviceStorage() if storage is None else storage
        self.nbytes = 0
        self.builds = 0
        self._kept: Dict[int, Callable[[], OperatorBatch]] = {}
        self._last: Tuple[int, Optional[OperatorBatch]] = (-1, None)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> OperatorBatch:
        if not 0 <= index < self.length:
            raise IndexError(f'batch {index} of {self.length}')
        if index in self._kept:
            return self._kept[index]()
        if index == self._last[0]:
            return self._last[1]
        # Solvers run without gradients, but a factory needs them.
        with torch.enable_grad(), saved_tensors() as saved:
            batch = self.factory(index)
        self.builds += 1
        size = saved.nbytes if batch.nbytes is None else batch.nbytes
        if self.nbytes + size <= self.limit:
            self._kept[index] = self._stored(batch, saved)
            self.nbytes += size
        else:
            self._last = (index, batch)
        return batch

    def _stored(self, batch: OperatorBatch,
                saved: SavedTensors) -> Callable[[], OperatorBatch]:
        """Move a batch to the storage; returns how to get it."""
        if isinstance(self.storage, DeviceStorage):
            return lambda: batch
        if batch.nbytes is None:  # a graph, whose tensors autograd asks for
            saved.move(self.storage)
            return lambda: batch
        skeleton = batch.map_tensors(_once(self.storage.put, _identity))
        return lambda: skeleton.map_tensors(_once(lambda load: load(), id))


def _once(function: Callable, key: Callable) -> Callable:
    """The function, called once for arguments of the same key."""
    found: Dict = {}

    def call(argument):
        which = key(argument)
        if which not in found:
            found[which] = function(argument)
        return found[which]

    return call


def _identity(tensor: Tensor) -> tuple:
    return (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)


def unique_bytes(tensors) -> int:
    """Bytes of the storages behind ``tensors``, shared ones once."""
    sizes = {}
    for tensor in tensors:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
    return sum(sizes.values())
