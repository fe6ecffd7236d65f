"""Batches kept in memory up to a limit and made again beyond it."""
from typing import Callable, Dict, Optional, Tuple

import torch

from .base import OperatorBatch
from .storage import DeviceStorage, saved_tensors


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
        if self.nbytes + size > self.limit:
            self._last = (index, batch)
            return batch

        self.nbytes += size
        if isinstance(self.storage, DeviceStorage):
            self._kept[index] = lambda: batch
        elif batch.nbytes is None:
            # A graph cannot be taken apart, but autograd asks for each tensor
            # that it saved: the graph stays, and they come when they are used.
            saved.move(self.storage)
            self._kept[index] = lambda: batch
        else:
            # Layers on one feature map hold the same input. It is stored once,
            # and read once each time the batch is put together again.
            skeleton = batch.map_tensors(
                _once(self.storage.put, lambda t: (
                    t.data_ptr(), t.shape, t.stride(), t.dtype)))
            self._kept[index] = lambda: skeleton.map_tensors(
                _once(lambda load: load(), id))
        return batch


def _once(function: Callable, key: Callable) -> Callable:
    """The function, called once for arguments of the same key."""
    values: Dict = {}

    def call(argument):
        which = key(argument)
        if which not in values:
            values[which] = function(argument)
        return values[which]

    return call


def unique_bytes(tensors) -> int:
    """Bytes of the storages behind ``tensors``, shared ones once."""
    sizes = {}
    for tensor in tensors:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
    return sum(sizes.values())
