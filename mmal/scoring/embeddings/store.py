"""Where the rows lie: one ``.npy`` file with an embedding of each image.

Each process writes its rows to a file of its own as it goes, and process 0
puts them in order, so that no process ever holds those of the whole pool in
memory.
"""
from __future__ import annotations

import os
import os.path as osp
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Optional

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank

from mmal.dist import on_main
from mmal.fileio import open_rows, save_rows
from mmal.types import ImageId

_BLOCK = 4096


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
    def part(self) -> Iterator[EmbeddingShard]:
        """This process' rows, in a temporary file beside this one."""
        folder, name = osp.split(osp.abspath(self.path))
        os.makedirs(folder, exist_ok=True)
        path = osp.join(folder, f'.{name}.{get_rank()}.mmal.tmp')
        part = EmbeddingShard(path, self.dtype)
        try:
            with open(path, 'wb') as part.file:
                yield part
        finally:
            part.remove()

    def join(self, ids: Sequence[ImageId], part: EmbeddingShard,
             known: Optional[tuple] = None) -> Optional[np.memmap]:
        """Put the rows of all processes in order and write the file.

        Args:
            ids (sequence[int | str]): The images in order.
            part (EmbeddingShard): This process' rows.
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


class EmbeddingShard:
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


def _in_order(sources: list[np.ndarray],
              places: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(places), _BLOCK):
        block = places[start:start + _BLOCK]
        out = np.empty((len(block), sources[0].shape[1]), sources[0].dtype)
        for number, rows in enumerate(sources):
            mine = block[:, 0] == number
            out[mine] = rows[block[mine, 1]]
        yield out
