"""Where the tensors of batches wait for their next use."""
import mmap
import tempfile
import weakref
from contextlib import contextmanager
from typing import Callable, Iterator, Optional

import torch
from torch import Tensor

Load = Callable[[], Tensor]


class DeviceStorage:
    """Where they were made: on the GPU if the model is there."""

    def put(self, tensor: Tensor) -> Load:
        """Keep a tensor.

        Returns:
            Callable: Gives it back, on the device it came from.
        """
        return lambda: tensor


class RamStorage:
    """In the memory of the machine; copied to the device at each use."""

    def put(self, tensor: Tensor) -> Load:
        """See :meth:`DeviceStorage.put`."""
        kept, device = tensor.detach().cpu(), tensor.device
        return lambda: kept.to(device)


class FileStorage:
    """In a memory-mapped file, read at each use.

    The operating system keeps as much of it in memory as is free. The file
    has no name, so nothing is left of it when the process ends, however that
    happens.

    Args:
        folder (str, optional): Where it lies; the system's folder for
            temporary files when None.
    """

    def __init__(self, folder: Optional[str] = None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)
        self._folder = folder or tempfile.gettempdir()

    def put(self, tensor: Tensor) -> Load:
        """See :meth:`DeviceStorage.put`.

        Raises:
            RuntimeError: The disk is full.
        """
        kept = tensor.detach().cpu().contiguous()
        if not kept.numel():  # nothing can be mapped of no bytes
            return lambda: tensor
        # What is mapped must begin on the border of a page.
        page = mmap.ALLOCATIONGRANULARITY
        start = -(-self._file.seek(0, 2) // page) * page
        try:
            self._file.seek(start)
            self._file.write(kept.view(-1).view(torch.uint8).numpy())
            self._file.flush()
        except OSError as e:
            raise RuntimeError(
                f'the file for inputs of layers in {self._folder} cannot '
                f'grow beyond {start / 2**30:.1f} GiB ({e}): choose another '
                'folder, or a lower limit.') from e
        shape, dtype, device = tensor.shape, tensor.dtype, tensor.device
        size = kept.nbytes

        def load() -> Tensor:
            # Copied on write: who changes a tensor changes no file.
            view = mmap.mmap(
                self._file.fileno(),
                size,
                access=mmap.ACCESS_COPY,
                offset=start)
            values = torch.frombuffer(view, dtype=dtype)
            return values.view(shape).to(device)

        return load


class SavedTensors:
    """What autograd saved, each tensor once.

    Attributes:
        nbytes (int): Memory that what is still needed holds.
    """

    def __init__(self) -> None:
        # Weak: parts of a graph die while it is built, and need no room.
        self._alive: weakref.WeakValueDictionary = \
            weakref.WeakValueDictionary()

    @property
    def nbytes(self) -> int:
        """Bytes of the storages behind them, shared ones once."""
        sizes = {}
        for saved in list(self._alive.values()):
            if saved.tensor is None:  # moved
                continue
            storage = saved.tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
        return sum(sizes.values())

    def pack(self, tensor: Tensor) -> '_Saved':
        """Called by autograd."""
        # Several nodes save the same tensor. The version is part of what it
        # is: an input changed in place is another one to the nodes before.
        key = (tensor.data_ptr(), tensor.shape, tensor.stride(),
               tensor.dtype, tensor._version)
        saved = self._alive.get(key)
        if saved is None:
            # Detached, as keeping an output would make a reference cycle.
            saved = self._alive[key] = _Saved(tensor.detach())
        return saved

    def move(self, storage) -> None:
        """Put all into a storage."""
        for saved in list(self._alive.values()):
            saved.load, saved.tensor = storage.put(saved.tensor), None


class _Saved:
    """A tensor, or how to get it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor: Optional[Tensor] = tensor
        self.load: Optional[Load] = None

    def get(self) -> Tensor:
        return self.load() if self.tensor is None else self.tensor


@contextmanager
def saved_tensors() -> Iterator[SavedTensors]:
    """Watch what autograd saves inside the block.

    Yields:
        SavedTensors: It may be moved to a storage after the block.
    """
    saved = SavedTensors()
    with torch.autograd.graph.saved_tensors_hooks(saved.pack,
                                                  lambda s: s.get()):
        yield saved


STORAGES = {
    'device': DeviceStorage,
    'ram': RamStorage,
    'file': FileStorage,
}
