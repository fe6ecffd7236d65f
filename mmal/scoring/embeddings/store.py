"""Where the rows lie: one ``.npy`` file with an embedding of each image.

Each process writes its rows to a file of its own as it goes, and process 0
puts them in order, so that no process ever holds those of the whole pool in
memory.
"""
from __future__ import annotations

import os
import os.path as osp
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Optional

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank

from mmal.dist import on_main
from mmal.fileio import open_rows, save_rows
from mmal.types import ImageId
from .reuse import EmbeddingStore, StoredRows

_BLOCK = 4096  # rows at a time


@dataclass(frozen=True)
class EmbeddingFile:
    """A ``.npy`` file with one row per image.

    Args:
        path (str): Where it is.
        dtype (str): 'float32' or 'float16'.
        store (EmbeddingStore, optional): Where embeddings of before are, and
            new ones are kept.

    Examples:
        >>> file = EmbeddingFile('embeddings.npy')
        >>> with file.shard() as shard:  # doctest: +SKIP
        ...     for batch in batches:
        ...         shard.append(batch.ids, rows_of(batch))
        ...     rows = file.merge_shards(ids, shard)
    """
    path: str
    dtype: str = 'float32'
    store: Optional[EmbeddingStore] = None

    def open(self, rows: int) -> Optional[np.memmap]:
        """The rows, memory-mapped for reading.

        Args:
            rows (int): How many there must be.

        Returns:
            np.memmap: [rows, D]; None if there is no such file, or one of
            another size or type.
        """
        stored = open_rows(self.path)
        if stored is None or len(stored) != rows or stored.dtype != self.dtype:
            return None
        return stored

    def shard(self) -> EmbeddingShard:
        """This process' rows, in a temporary file beside this one."""
        folder, name = osp.split(osp.abspath(self.path))
        os.makedirs(folder, exist_ok=True)
        return EmbeddingShard(
            osp.join(folder, f'.{name}.{get_rank()}.mmal.tmp'), self.dtype)

    def merge_shards(self, ids: Sequence[ImageId], shard: EmbeddingShard,
                     known: Optional[tuple] = None,
                     stored: Optional[StoredRows] = None
                     ) -> Optional[np.memmap]:
        """Put the rows of all processes in order and write the file.

        Args:
            ids (sequence[int | str]): The images in order.
            shard (EmbeddingShard): This process' rows.
            known (tuple, optional): Ids and rows that were there before.
            stored (StoredRows, optional): What the store knows; the rows of
                the shards are added to it.

        Returns:
            np.memmap: [N, D]; the same file in every process. None if there
            is no image.
        """
        shard.flush()
        shards = all_gather_object((shard.ids, shard.path, shard.dim))

        def write() -> None:
            sources = [
                (own, np.memmap(path, self.dtype, 'r', shape=(len(own), dim)))
                for own, path, dim in shards if own
            ]
            where = {
                image: (source, row)
                for source, (own, _) in enumerate(sources)
                for row, image in enumerate(own)
            }
            rows = [rows for _, rows in sources]
            if stored is not None:
                new = [i for i in ids if i in where and i in stored.marks]
                if new:
                    self.store.add(
                        new, in_order(rows, np.array([where[i] for i in new])),
                        rows[0].shape[1], stored.marks)
                where.update({
                    image: (len(rows) + source, row)
                    for image, (source, row) in stored.where.items()})
                rows += stored.rows
            if known is not None and len(known[0]):
                where.update({image: (len(rows), row)
                              for row, image in enumerate(known[0])})
                rows.append(known[1])
            index = np.array([where[i] for i in ids]).reshape(-1, 2)
            save_rows(self.path, in_order(rows, index), len(ids),
                      rows[0].shape[1] if rows else 0, self.dtype)

        on_main(write)
        return open_rows(self.path)


class EmbeddingShard(AbstractContextManager):
    """The rows that one process writes, in the order they come.

    Leaving the ``with`` deletes the file, whatever happened inside.

    Args:
        path (str): A temporary file.
        dtype (str): Its type.

    Attributes:
        ids (list[int | str]): Whose rows there are.
        dim (int): D, 0 as long as there is none.
    """

    def __init__(self, path: str, dtype: str) -> None:
        self.path = path
        self.dtype = dtype
        self.ids: list[ImageId] = []
        self.dim = 0
        self._file = open(path, 'wb')

    def append(self, ids: Sequence[ImageId], rows) -> None:
        """Write rows [B, D] of B images.

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
        # Infinite rows of the model itself pass: selectors name their image.
        if np.isinf(stored).any() and np.isfinite(rows).all():
            raise ValueError(
                f'an embedding has the value {np.abs(rows).max():.3g}, too '
                "large for float16: set dtype='float32' in "
                'active_learning.selector.')
        self._file.write(stored.tobytes())
        self.ids.extend(ids)
        self.dim = rows.shape[1]

    def flush(self) -> None:
        """Let other processes see all rows in the file."""
        self._file.flush()

    def __exit__(self, *exc) -> None:
        self._file.close()
        if osp.exists(self.path):
            os.unlink(self.path)


def in_order(sources: Sequence[np.ndarray],
             index: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of several arrays in one order, some thousand at a time.

    Args:
        sources (sequence[np.ndarray]): [N_s, D] each, may be memory-mapped.
        index (np.ndarray): int64 [N, 2], source and row of each.

    Yields:
        np.ndarray: [n, D], N rows in all.
    """
    for start in range(0, len(index), _BLOCK):
        block = index[start:start + _BLOCK]
        out = np.empty((len(block), sources[0].shape[1]), sources[0].dtype)
        for number, rows in enumerate(sources):
            of_source = block[:, 0] == number
            out[of_source] = rows[block[of_source, 1]]
        yield out
