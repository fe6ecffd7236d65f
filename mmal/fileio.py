"""Atomic files: a reader sees the old content or the new one, never half.

Everything `mmal` writes goes through :func:`atomic_write`, so that a process
killed at any moment, or a full disk, leaves every earlier file as it was.
"""
from __future__ import annotations

import contextlib
import errno
import json
import os
import os.path as osp
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Optional

import numpy as np

_SUFFIX = '.mmal.tmp'
_OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OF_THE_DISK = (*_OUT_OF_SPACE, errno.EIO, errno.EROFS, errno.EACCES,
                errno.EPERM)


@contextlib.contextmanager
def atomic_write(path: str) -> Iterator[BinaryIO]:
    """Open a temporary file that takes the name ``path`` when all went well.

    Args:
        path (str): The file to write. Missing folders are made.

    Yields:
        BinaryIO: A binary file in the folder of ``path``.

    Raises:
        OSError: If the file cannot be written. ``path`` is then unchanged and
            the message names it.

    Examples:
        >>> with atomic_write('/tmp/mmal_doc/a.txt') as f:
        ...     _ = f.write(b'whole or not at all')
    """
    folder = osp.dirname(osp.abspath(path))
    tmp = None
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.NamedTemporaryFile(
                dir=folder, prefix=f'.{osp.basename(path)}.', suffix=_SUFFIX,
                delete=False) as f:
            tmp = f.name
            # a temporary file is for its owner alone; this one gets the
            # rights of any new file, which only setting the umask tells
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(tmp, 0o666 & ~mask)
            yield f
            f.flush()
            # to the disk before the name: a power cut must not leave an
            # empty file under it
            os.fsync(f.fileno())
        os.replace(tmp, path)
        with contextlib.suppress(OSError):  # some systems cannot sync folders
            fd = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
    except OSError as e:
        _discard(tmp)
        # what has a name of its own may be a file that was read meanwhile
        is_ours = e.filename is None or e.filename == tmp or \
            folder.startswith(osp.abspath(str(e.filename)))
        if e.errno not in _OF_THE_DISK or not is_ours:
            raise
        advice = ('free some space' if e.errno in _OUT_OF_SPACE else
                  'see that this place can be written to')
        raise OSError(
            e.errno, f'{e.strerror} while writing {path}. Nothing was '
            f'lost: {advice} and run the same command with --resume') from e
    except BaseException:  # Ctrl-C too
        _discard(tmp)
        raise


def write_bytes(path: str, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically."""
    with atomic_write(path) as f:
        f.write(content)


def write_text(path: str, text: str) -> None:
    """Write ``text`` to ``path`` atomically, as UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: str, obj: Any, indent: Optional[int] = None) -> None:
    """Write ``obj`` to ``path`` atomically, as JSON.

    Raises:
        TypeError, ValueError: If JSON cannot hold it (an object of another
            type, NaN, an infinity). ``path`` is then unchanged.
    """
    try:
        text = json.dumps(obj, indent=indent, allow_nan=False)
    except (TypeError, ValueError) as e:
        raise type(e)(f'{path} cannot be written as JSON: {e}') from e
    write_text(path, text)


def read_json(path: str) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If it cannot be read; the message names it.
        ValueError: If it is not valid JSON; the message gives the position.
    """
    with open(path, encoding='utf-8') as f:
        try:
            return json.load(f)
        except OSError as e:  # of an open file it does not say which
            raise OSError(e.errno, e.strerror, path) from e
        except (json.JSONDecodeError, UnicodeDecodeError) as e:
            raise ValueError(
                f'{path} is not valid JSON ({e}). It may be cut off or not a '
                'JSON file: restore it or download it again.') from e


def discard_leftovers(folder: str) -> None:
    """Remove what killed processes left half written in ``folder``.

    Only for a folder that no other process writes to at the time. Folders
    below it are not searched; a missing one is fine.
    """
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(folder):
            if name.startswith('.') and name.endswith(_SUFFIX):
                _discard(osp.join(folder, name))


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


def save_rows(path: str, blocks: Iterable[np.ndarray], number: int, dim: int,
              dtype: str) -> None:
    """Write a ``.npy`` file atomically, without holding it in memory.

    Args:
        path (str): The file.
        blocks (iterable[np.ndarray]): Blocks of rows in order.
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
        for rows in blocks:
            f.write(np.ascontiguousarray(rows, dtype).tobytes())


def _discard(tmp: Optional[str]) -> None:
    if tmp is not None:
        with contextlib.suppress(OSError):
            os.unlink(tmp)
