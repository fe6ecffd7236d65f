"""One vector for each image: the average of the backbone's last map.

Embeddings are taken from the forward pass that scores, by a hook on the
backbone, unless ``active_learning.embedder`` names another source. Each
process writes its rows to a file of its own as it goes, and process 0 puts
them in order, so that no process ever holds those of the whole pool in memory.
"""
from __future__ import annotations

import os
import os.path as osp
from abc import ABCMeta, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Optional

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank
from torch import Tensor, nn

from mmal.communication import on_main
from mmal.fileio import atomic_write
from .data import Batch, ImageId

_BLOCK = 4096


def backbone_of(model: nn.Module) -> nn.Module:
    """The module whose last map is averaged.

    Raises:
        ValueError: If the model has none.
    """
    backbone = getattr(model, 'backbone', None)
    if not isinstance(backbone, nn.Module):
        raise ValueError(
            f'{type(model).__name__} has no backbone, so embeddings cannot '
            'be taken from it: use a selector without embeddings '
            '(active_learning.selector), or a scorer that returns its own.')
    return backbone


def pooled(maps) -> Tensor:
    """The global average of the last map of a backbone.

    Args:
        maps (Tensor | sequence[Tensor] | dict[str, Tensor]): What the
            backbone returned: one map [B, D, H, W] or several, the last of
            which counts.

    Returns:
        Tensor: float32 [B, D]. All H·W positions count, those of the padding
        to ``pad_size_divisor`` included; images of other sizes never share a
        batch, so there is no other padding.

    Raises:
        ValueError: If that is no map.
    """
    if isinstance(maps, dict):
        maps = list(maps.values())
    if isinstance(maps, Sequence):
        maps = maps[-1] if len(maps) else None
    if not torch.is_tensor(maps) or maps.dim() != 4:
        shape = getattr(maps, 'shape', type(maps).__name__)
        raise ValueError(
            f"the backbone's last output is {shape}, not a map of shape "
            '[B, D, H, W]: embeddings are its average over H and W.')
    return maps.detach().float().mean((2, 3))


class BaseEmbedder(metaclass=ABCMeta):
    """A source of embeddings of one's own: ``active_learning.embedder``."""

    @abstractmethod
    def check(self, model: nn.Module) -> None:
        """Find mistakes in the settings before any training.

        Args:
            model (nn.Module): The detector in eval mode, with any weights.

        Raises:
            ValueError: If this model has no such embeddings.
        """

    @abstractmethod
    def watch(self, model: nn.Module) -> AbstractContextManager:
        """What gives embeddings of a model's batches inside a ``with``.

        Args:
            model (nn.Module): The detector in eval mode.

        Returns:
            AbstractContextManager: With the methods of :class:`Embedder`.
        """


class Embedder:
    """Watches a model's forward passes, inside a ``with``.

    Args:
        model (nn.Module): A detector with a ``backbone``.

    Raises:
        ValueError: If it has none.
    """

    def __init__(self, model: nn.Module) -> None:
        self._backbone = backbone_of(model)
        self._inputs: Optional[Tensor] = None
        self._found: Optional[Tensor] = None

    def __enter__(self) -> Embedder:
        self._handle = self._backbone.register_forward_hook(self._look)
        return self

    def __exit__(self, *args) -> None:
        self._handle.remove()

    def expect(self, batch: Batch) -> None:
        """Say which batch the next forward passes are about."""
        self._inputs, self._found = batch.inputs, None

    def embedding(self) -> Tensor:
        """float32 [B, D] of the batch expected.

        The backbone is run here if it has not seen the batch since: the
        scorer did not look, changed the images first, or ran the backbone
        with dropout or other changes from outside (hooks inside it).
        """
        if self._found is None:
            with torch.no_grad():
                self._found = pooled(self._backbone(self._inputs))
        return self._found

    def _look(self, module: nn.Module, args: tuple, output) -> None:
        if self._found is None and args and \
                is_same_tensor(args[0], self._inputs) and \
                not _disturbed(module):
            self._found = pooled(output)


def is_same_tensor(found, wanted: Optional[Tensor]) -> bool:
    """Whether two tensors are the same memory in the same shape."""
    return torch.is_tensor(found) and wanted is not None and \
        found.shape == wanted.shape and \
        found.data_ptr() == wanted.data_ptr()


def _disturbed(module: nn.Module) -> bool:
    """Whether a module is in training mode, or hooks inside it may change
    what it returns, as those of DropoutCommittee do."""
    inside = (m for m in module.modules() if m is not module)
    return module.training or any(
        m.training or m._forward_hooks for m in inside)


@dataclass(frozen=True)
class EmbeddingFile:
    """A ``.npy`` file with one row per image.

    Args:
        path (str): Where it is.
        dtype (str): 'float32' or 'float16'.
    """
    path: str
    dtype: str = 'float32'

    def open(self, rows: int) -> Optional[np.memmap]:
        """The rows, memory-mapped for reading.

        Args:
            rows (int): How many there must be.

        Returns:
            np.memmap: [rows, D]; None if there is no such file, or one of
            another size or type.
        """
        found = open_rows(self.path)
        if found is None or len(found) != rows or found.dtype != self.dtype:
            return None
        return found

    @contextmanager
    def part(self) -> Iterator[Part]:
        """This process' rows, in a temporary file beside this one."""
        folder, name = osp.split(osp.abspath(self.path))
        os.makedirs(folder, exist_ok=True)
        path = osp.join(folder, f'.{name}.{get_rank()}.mmal.tmp')
        part = Part(path, self.dtype)
        try:
            with open(path, 'wb') as part.file:
                yield part
        finally:
            part.remove()

    def join(self, ids: Sequence[ImageId], part: Part,
             known: Optional[tuple] = None) -> Optional[np.memmap]:
        """Put the rows of all processes in order and write the file.

        Args:
            ids (sequence[int | str]): The images in order.
            part (Part): This process' rows.
            known (tuple, optional): Ids and rows that were there before.

        Returns:
            np.memmap: [N, D]; the same file in every process. None if there
            is no image.
        """
        part.file.flush()
        found = all_gather_object((part.ids, part.path, part.dim))
        on_main(lambda: self._write(ids, found, known))
        return open_rows(self.path)

    def _write(self, ids, parts, known) -> None:
        sources = [(i, np.memmap(path, self.dtype, 'r', shape=(len(i), dim)))
                   for i, path, dim in parts if i]
        if known is not None and len(known[0]):
            sources.append(known)
        where = {
            image: (s, row)
            for s, (names, _) in enumerate(sources)
            for row, image in enumerate(names)
        }
        places = np.array([where[i] for i in ids]).reshape(-1, 2)
        rows = [rows for _, rows in sources]
        save_rows(self.path, _in_order(rows, places), len(ids),
                  rows[0].shape[1] if rows else 0, self.dtype)


class Part:
    """The rows that one process writes, in the order they come.

    Args:
        path (str): A temporary file.
        dtype (str): Its type.
    """

    def __init__(self, path: str, dtype: str) -> None:
        self.path = path
        self.dtype = dtype
        self.ids: list[ImageId] = []
        self.dim = 0
        self.file = None

    def add(self, ids: Sequence[ImageId], rows) -> None:
        """Append rows [B, D].

        Raises:
            ValueError: If there are not B of them, or if float16 cannot hold
                a value.
        """
        if torch.is_tensor(rows):
            rows = rows.detach().cpu().numpy()
        rows = np.asarray(rows)
        if rows.ndim != 2 or len(rows) != len(ids):
            raise ValueError(
                f'embeddings of shape {list(rows.shape)} for {len(ids)} '
                'images: there must be one row of numbers for each.')
        with np.errstate(over='ignore'):
            stored = np.ascontiguousarray(rows, self.dtype)
        if np.isinf(stored).any() and np.isfinite(rows).all():
            raise ValueError(
                f'an embedding has the value {np.abs(rows).max():.3g}, too '
                "large for float16: set dtype='float32' in "
                'active_learning.selector.')
        self.file.write(stored.tobytes())
        self.ids.extend(ids)
        self.dim = rows.shape[1]

    def remove(self) -> None:
        """Delete the file."""
        if osp.exists(self.path):
            os.unlink(self.path)


def open_rows(path: str) -> Optional[np.memmap]:
    """A two-dimensional ``.npy`` file, memory-mapped for reading.

    Returns:
        np.ndarray: None if there is no such file or it cannot be read.
    """
    try:
        rows = np.load(path, mmap_mode='r', allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return None
    return rows if rows.ndim == 2 else None


def save_rows(path: str, parts, number: int, dim: int, dtype: str) -> None:
    """Write a ``.npy`` file atomically, without holding it in memory.

    Args:
        path (str): The file.
        parts (iterable[np.ndarray]): Blocks of rows in order.
        number (int): How many rows they are together.
        dim (int): Their length.
        dtype (str): The type of the file.
    """
    header = dict(
        descr=np.lib.format.dtype_to_descr(np.dtype(dtype)),
        fortran_order=False,
        shape=(number, dim))
    with atomic_write(path) as f:
        np.lib.format.write_array_header_1_0(f, header)
        for rows in parts:
            f.write(np.ascontiguousarray(rows, dtype).tobytes())


def _in_order(sources: list[np.ndarray],
              places: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(places), _BLOCK):
        block = places[start:start + _BLOCK]
        out = np.empty((len(block), sources[0].shape[1]), sources[0].dtype)
        for number, rows in enumerate(sources):
            mine = block[:, 0] == number
            out[mine] = rows[block[mine, 1]]
        yield out
