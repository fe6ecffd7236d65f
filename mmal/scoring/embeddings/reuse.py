"""Embeddings that later rounds, and other runs, use again.

A network that is never trained gives an image the same embedding in each
round. It is computed once and found again by the image and by what made it.
"""
from __future__ import annotations

import hashlib
import logging
import os
import os.path as osp
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Optional

import numpy as np
from mmengine.logging import print_log

from mmal.dist import on_main, only_on_main
from mmal.fileio import atomic_write
from mmal.pool import ExpectedImage, file_mark
from mmal.types import ImageId

_MARK = 16  # bytes
_BLOCK = 4096  # rows at a time


@dataclass
class StoredRows:
    """What a store knows of the images that were asked for.

    Args:
        ids (frozenset[int | str]): Those that have a row, in every process.
        rows (list[np.ndarray]): [N_s, D] each, memory-mapped; only process 0
            has them, and what follows.
        where (dict[int | str, tuple[int, int]]): Which of ``rows``, and the
            row there, of each of the ids.
        marks (dict[int | str, bytes]): Of the images as they were when they
            were asked for; none of what is no file.
    """
    ids: frozenset[ImageId] = frozenset()
    rows: list[np.ndarray] = field(default_factory=list)
    where: dict[ImageId, tuple[int, int]] = field(default_factory=dict)
    marks: dict[ImageId, bytes] = field(default_factory=dict)


class EmbeddingStore:
    """A folder of embeddings of one network; several runs may share it.

    Each query that computes some adds a file, which takes its name when it is
    whole and is never changed. A row has the mark of its image (path, size in
    bytes, time, width and height) and a checksum: what does not fit is
    computed again. The folder may be deleted at any time.

    Args:
        folder (str): Where stores of all networks are.
        fingerprint (str): Tells networks, and how images reach them, apart.
        dtype (str): 'float32' or 'float16'.
    """

    def __init__(self, folder: str, fingerprint: str, dtype: str) -> None:
        self.folder = osp.join(folder, f'{fingerprint}_{dtype}')
        self.dtype = dtype

    def find(self, files: Mapping[ImageId, ExpectedImage]) -> StoredRows:
        """Look images up; all processes call this.

        Args:
            files (mapping[int | str, ExpectedImage]): The images' files.
        """
        found = only_on_main(lambda: self._find(files))
        ids = on_main(lambda: frozenset(found.where))
        return StoredRows(ids) if found is None else StoredRows(
            ids, found.rows, found.where, found.marks)

    def add(self, ids: Sequence[ImageId], blocks: Iterable[np.ndarray],
            dim: int, marks: Mapping[ImageId, bytes]) -> None:
        """Write rows that are not there yet, atomically; process 0 alone.

        Args:
            ids (sequence[int | str]): N images, all of which have a mark.
            blocks (iterable[np.ndarray]): Their rows [N, D] in blocks.
            dim (int): D.
            marks (mapping[int | str, bytes]): See :class:`StoredRows`.
        """
        images = [marks[i] for i in ids]
        name = hashlib.blake2b(b''.join(images), digest_size=8).hexdigest()
        dtype = self._table(dim)
        header = dict(descr=np.lib.format.dtype_to_descr(dtype),
                      fortran_order=False, shape=(len(ids), ))
        with atomic_write(osp.join(self.folder, f'{name}.npy')) as f:
            np.lib.format.write_array_header_1_0(f, header)
            start = 0
            for rows in blocks:
                rows = np.ascontiguousarray(rows, self.dtype)
                table = np.empty(len(rows), dtype)
                table['row'] = rows
                own = images[start:start + len(rows)]
                table['image'] = np.frombuffer(b''.join(own), f'V{_MARK}')
                table['checksum'] = [
                    zlib.crc32(row, zlib.crc32(image))
                    for image, row in zip(own, rows)]
                f.write(table.tobytes())
                start += len(rows)

    def _table(self, dim: int) -> np.dtype:
        return np.dtype([('image', f'V{_MARK}'), ('checksum', '<u4'),
                         ('row', np.dtype(self.dtype), (dim, ))])

    def _find(self, files: Mapping[ImageId, ExpectedImage]) -> StoredRows:
        marks = {}
        for i, file in files.items():
            mark = file_mark(file, _MARK)
            if mark is not None:
                marks[i] = mark
        sought, rows = set(marks.values()), []
        where: dict[bytes, tuple[int, int]] = {}
        damaged: dict[bytes, str] = {}
        for path, table in self._tables():
            if rows and table['row'].shape[1] != rows[0].shape[1]:
                continue
            rows.append(table['row'])
            for start in range(0, len(table), _BLOCK):
                block = np.array(table[start:start + _BLOCK])
                own = np.ascontiguousarray(block['row'])
                checksums = block['checksum'].tolist()
                for n, image in enumerate(block['image'].tolist()):
                    if image not in sought or image in where:
                        continue
                    if zlib.crc32(own[n], zlib.crc32(image)) == checksums[n]:
                        where[image] = len(rows) - 1, start + n
                    else:
                        damaged[image] = path
        lost = [path for image, path in damaged.items() if image not in where]
        if lost:
            _warn(lost[0], f'{len(lost):,} embeddings are')
        return StoredRows(
            rows=rows, marks=marks,
            where={i: where[m] for i, m in marks.items() if m in where})

    def _tables(self) -> Iterator[tuple[str, np.ndarray]]:
        """The files that are whole; others are deleted."""
        names: list[str] = []
        with suppress(FileNotFoundError):
            names = sorted(n for n in os.listdir(self.folder)
                           if n.endswith('.npy'))
        for name in names:
            path = osp.join(self.folder, name)
            table: Optional[np.ndarray] = None
            with suppress(ValueError, EOFError, FileNotFoundError):
                table = np.load(path, mmap_mode='r', allow_pickle=False)
                row = dict(table.dtype.fields or {}).get('row')
                dim = row[0].shape[0] if row and row[0].shape else -1
                if table.ndim != 1 or table.dtype != self._table(max(dim, 0)):
                    table = None
            if table is not None:
                yield path, table
            elif osp.exists(path):
                _warn(path, 'its embeddings are')
                with suppress(OSError):
                    os.unlink(path)


def _warn(path: str, what: str) -> None:
    print_log(f'{path} is damaged: {what} computed again now.', 'current',
              logging.WARNING)
