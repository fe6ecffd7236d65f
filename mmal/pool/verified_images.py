"""Images that were read to their end, remembered over rounds and resumes."""
from __future__ import annotations

import hashlib
import os.path as osp
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Optional

import numpy as np

from mmal.fileio import atomic_write
from mmal.types import ImageId
from .image_loader import ImageLoader
from .images import file_status, verify_image

_MARK = 8  # bytes


class ExpectedImage(NamedTuple):
    """The file of an image.

    Args:
        path (str): Where it is.
        size (tuple[int, int]): Width and height that its json tells.
    """
    path: str
    size: tuple[int, int]


def file_mark(file: ExpectedImage,
              length: int,
              key: str = '') -> Optional[bytes]:
    """A hash of where a file is, its size in bytes, its time, and the width
    and height that it should have.

    Args:
        file (ExpectedImage): The file.
        length (int): Of the hash, in bytes.
        key (str): What else counts.

    Returns:
        bytes: None where there is no such file on a disk.
    """
    status = file_status(file.path)
    if status is None:
        return None
    text = repr((osp.abspath(file.path), *map(int, file.size), *status, key))
    return hashlib.blake2b(
        text.encode('utf-8', 'surrogatepass'), digest_size=length).digest()


class VerifiedImages:
    """Verifies each image once, as long as its file stays as it is.

    Looking whether a file is whole decodes it, and the pipeline does so once
    more. What was found whole is whole as long as path, size and time are the
    same.

    Args:
        loader (ImageLoader): What the pipeline loads images with.
        path (str, optional): Where the marks of whole images are kept. A file
            that is lost or damaged is made again.
    """

    def __init__(self,
                 loader: ImageLoader,
                 path: Optional[str] = None) -> None:
        self.loader = loader
        self.path = path
        self._marks = np.zeros(0, np.uint64)  # ascending
        if path is not None and osp.exists(path):
            try:
                marks = np.load(path, allow_pickle=False)
                if marks.dtype == np.uint64 and marks.ndim == 1:
                    self._marks = np.unique(marks)
            except (ValueError, EOFError):
                pass  # they are verified again

    def __call__(self,
                 path: str,
                 size: tuple[int, int],
                 load: bool = False) -> Optional[str]:
        """See :func:`verify_image`; with ``load`` nothing is taken on
        trust."""
        if not load and len(self._marks):
            mark = self._mark(ExpectedImage(path, size))
            at = None if mark is None else np.searchsorted(self._marks, mark)
            if at is not None and at < len(self._marks) and \
                    self._marks[at] == mark:
                return None
        return verify_image(path, size, self.loader, load)

    def marks(self, files: Mapping[ImageId, ExpectedImage]
              ) -> dict[ImageId, np.uint64]:
        """Of files as they are now, before they are read.

        Args:
            files (mapping[int | str, ExpectedImage]): Those that are no files
                on a disk get none.
        """
        marks = {i: self._mark(file) for i, file in files.items()}
        return {i: mark for i, mark in marks.items() if mark is not None}

    def add(self, marks: Iterable[np.uint64]) -> None:
        """Remember files that were read to their end since :meth:`marks`."""
        known = np.unique(np.concatenate(
            [self._marks, np.array(list(marks), np.uint64)]))
        if len(known) > len(self._marks):
            self._marks = known
            if self.path is not None:
                with atomic_write(self.path) as f:
                    np.save(f, known)

    def _mark(self, file: ExpectedImage) -> Optional[np.uint64]:
        mark = file_mark(file, _MARK, repr(self.loader))
        return None if mark is None else np.frombuffer(mark, np.uint64)[0]
