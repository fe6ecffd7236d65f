"""Photos in folders: their names and, from their headers, their sizes."""
from __future__ import annotations

import os
import os.path as osp
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Optional, Union

from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from ..image_loader import opencv_rotates

# What OpenCV reads, and so mmcv.
EXTENSIONS = frozenset({
    '.bmp', '.dib', '.jfif', '.jp2', '.jpe', '.jpeg', '.jpg', '.pbm', '.pgm',
    '.png', '.pnm', '.ppm', '.tif', '.tiff', '.webp'})
_ORIENTATION = 0x0112  # EXIF, and TIFF's own tag
_TIFF_SIZE = (0x0100, 0x0101)
_SHOW_PROGRESS_AFTER = 1.0  # seconds


@dataclass(frozen=True)
class PhotoSize:
    """Size of a photo as mmcv loads it.

    Args:
        width, height (int): In pixels, after the rotation that the EXIF
            orientation asks for.
        orientation (int): That orientation, 1 to 8; from 5 on width and
            height of the stored pixels are the other way round.
    """
    width: int
    height: int
    orientation: int = 1

    @property
    def stored(self) -> tuple[int, int]:
        """Width and height of the pixels in the file."""
        size = (self.width, self.height)
        return size[::-1] if self.orientation >= 5 else size


def photo_size(path: str) -> Union[PhotoSize, str]:
    """Size of one photo, or why it is unreadable; no pixel is decoded."""
    try:
        if not osp.isfile(path):  # opening a pipe would wait for ever
            return 'it is no file' if osp.exists(path) else 'no such file'
        if not osp.getsize(path):
            return 'the file is empty'
        with Image.open(path) as image:
            # Not image.getexif(): for a PNG that would decode the pixels.
            tag = Image.Image.getexif(image).get(_ORIENTATION, 1)
            size, kind = image.size, image.format
            if image.format == 'TIFF':
                # Newer versions of PIL have turned image.size already.
                size = tuple(int(image.tag_v2[t]) for t in _TIFF_SIZE)
    except UnidentifiedImageError:
        return 'it is not an image'
    except OSError as e:
        return f'it cannot be read ({e.strerror or e})'
    except Exception as e:  # PIL's plugins raise many kinds on broken data
        return f'it is broken ({e})'
    if min(size) < 1:
        return 'it has no pixels'
    orientation = tag if tag in range(1, 9) else 1
    if orientation >= 5 and not opencv_rotates(kind):
        orientation = 1
    if orientation >= 5:
        size = size[::-1]
    return PhotoSize(*size, orientation)


def photo_sizes(paths: Sequence[str],
                workers: int = 8,
                desc: str = 'reading sizes') -> list[Union[PhotoSize, str]]:
    """Sizes of photos; no pixel is decoded.

    Args:
        paths (Sequence[str]): The files.
        workers (int): Threads, which help where opening a file takes long.
        desc (str): Stands before the progress bar.

    Returns:
        list[PhotoSize | str]: One for each path; where the photo is
        unreadable, the reason.
    """
    limit = Image.MAX_IMAGE_PIXELS
    # PIL's guard against decompression bombs; a header is none.
    Image.MAX_IMAGE_PIXELS = None
    try:
        with ThreadPoolExecutor(max(1, workers)) as threads:
            return list(
                tqdm(threads.map(photo_size, paths), total=len(paths),
                     desc=desc, unit='img', delay=_SHOW_PROGRESS_AFTER))
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def list_files(folder: str) -> list[str]:
    """All files of a folder and the folders below it.

    Links are followed, each folder is entered once. Names that begin with a
    dot, and ``__MACOSX``, are left out: no person put them there.

    Args:
        folder (str): The folder.

    Returns:
        list[str]: Names relative to ``folder``, with ``/``, sorted.

    Raises:
        OSError: If there is no such folder, or one cannot be listed.
    """
    if not osp.isdir(folder):
        raise NotADirectoryError(f'there is no folder {folder}.')

    def stop(error: OSError) -> None:
        raise error

    names, entered = [], set()
    for root, folders, files in os.walk(folder, onerror=stop,
                                        followlinks=True):
        # A link to a folder above would never end.
        real = osp.realpath(root)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(
            f for f in folders if not f.startswith('.') and f != '__MACOSX')
        below = osp.relpath(root, folder)
        names += [
            name if below == '.' else f'{below.replace(os.sep, "/")}/{name}'
            for name in files if not name.startswith('.')
        ]
    return sorted(names)


def is_photo(name: str) -> bool:
    """Whether a file is called like a photo."""
    return osp.splitext(name)[1].lower() in EXTENSIONS


def stem_of(name: str) -> str:
    """A name without the extension of a photo.

    One form of Unicode, as macOS writes accents another way than others do.

    Examples:
        >>> stem_of('a/photo.1.JPG'), stem_of('a/photo.1')
        ('a/photo.1', 'a/photo.1')
    """
    name = unicodedata.normalize('NFC', name)
    return osp.splitext(name)[0] if is_photo(name) else name


def refuse_unreadable(
        unreadable: Sequence[tuple[str, str]], of: int, skip: bool,
        advice: Optional[str] = None) -> None:
    """Raise unless photos that cannot be read may be left out.

    Args:
        unreadable (Sequence[tuple[str, str]]): Path and reason of each.
        of (int): How many photos there are.
        skip (bool): Whether they may be left out.
        advice (str, optional): What to do about them.

    Raises:
        ValueError: If they may not, or if they are all there are.
    """
    if not unreadable or (skip and len(unreadable) < of):
        return
    lines = [f'  {path}: {reason}' for path, reason in unreadable[:10]]
    if len(unreadable) > 10:
        lines.append(f'  … and {len(unreadable) - 10} more')
    raise ValueError('\n'.join([
        f'{len(unreadable)} of {of} photos are unreadable:', *lines,
        advice or 'Replace or remove them, or leave them out with '
        '--skip-unreadable.']))
