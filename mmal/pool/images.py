"""Find unreadable images of a pool before they stop a run."""
from __future__ import annotations

import io
import os
import os.path as osp
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Optional, Union

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError
from tqdm import tqdm

from mmal.types import ImageId
from .coco import CocoData, some
from .image_loader import ImageLoader

_ORIENTATION = 0x0112  # EXIF
_QUARTER_TURNS = range(5, 9)  # its values that swap width and height
# whose existence one thread asks for in a row: handing one file to a thread
# takes ten times as long as asking for it
_FILES_AT_ONCE = 512
_SHOW_PROGRESS_AFTER = 5.0  # seconds
# Pillow knows how these end, so what it calls broken is broken. Of other
# formats (TIFF has hundreds) it knows some kinds that a loader does not, and
# the other way round.
_WELL_KNOWN = ('JPEG', 'MPO', 'PNG')
# pixels; eight threads with larger ones might not fit into memory
_LARGE = 2**26
_one_large_image = threading.Lock()
# 8-bit values that are nearly black: a tenth of their range
_DARK = 25


@dataclass(frozen=True)
class UnreadableImage:
    """An image that is missing, broken or of another size than its entry.

    Args:
        id (int | str): Its id in the COCO file.
        file_name (str): Its name there.
        path (str): Where it was looked for.
        reason (str): What is wrong with it.
    """
    id: ImageId
    file_name: str
    path: str
    reason: str

    def __str__(self) -> str:
        return f'{self.path} (id {self.id!r}): {self.reason}'


class UnreadableImagesError(ValueError):
    """A pool has unreadable images.

    Args:
        images (Sequence[UnreadableImage]): At least one; the message shows
            the first ten.
    """

    def __init__(self, images: Sequence[UnreadableImage]) -> None:
        self.images = list(images)
        lines = [f'  {image}' for image in self.images[:10]]
        if len(self.images) > 10:
            lines.append(f'  … and {len(self.images) - 10} more')
        super().__init__(
            f'{len(self.images)} image(s) of the pool are unreadable:\n' +
            '\n'.join(lines) + '\nReplace them, or set '
            "active_learning.on_bad_image='skip' to go on without them.")

    def __reduce__(self):  # it travels between processes
        return UnreadableImagesError, (self.images, )


@dataclass(frozen=True)
class InspectedImages:
    """What a look at images found.

    Args:
        unreadable (list[UnreadableImage]): In the order of the file.
        loaded (int): Images that were loaded.
        dark (list[DarkImage]): Of these, in the order of the file, those
            whose values are all in the lowest tenth of 8 bits.
        loader (ImageLoader): What loaded them.
    """
    unreadable: list[UnreadableImage]
    loaded: int
    dark: list[DarkImage]
    loader: ImageLoader

    @property
    def note(self) -> Optional[str]:
        """A sentence on images that a detector would see as nearly black.

        A dark photo among others is none. A file with more than 8 bits that
        becomes dark is: where a sensor gives 12 of 16 bits, what is kept of
        them is black.
        """
        deep = [image for image in self.dark if image.stored_type != 'uint8']
        dark = deep
        if len(self.dark) == self.loaded:
            dark = self.dark
        if not dark:
            return None
        name = self.loader.imdecode_backend
        why = advice = ''
        if deep:
            kinds = ', '.join(sorted({image.stored_type for image in deep}))
            why = (f', though the files hold {kinds} with values up to '
                   f'{max(image.stored_peak for image in deep):,}: only the '
                   'upper 8 bits are kept')
            advice = (", or load them with color_type='unchanged' or "
                      "imdecode_backend='tifffile' and set mean and std of "
                      'model.data_preprocessor to their values')
        return (
            f'{len(dark):,} of {self.loaded:,} images that were loaded with '
            f'{name} are nearly black: their values reach '
            f'{max(image.peak for image in dark)} of 255{why} '
            f'({some([image.file_name for image in dark])}). Stretch the '
            f'files to 0..255 in 8 bits{advice}.')


@dataclass(frozen=True)
class DarkImage:
    """An image whose loaded values are all small.

    Args:
        file_name (str): Its name in the COCO file.
        peak (int): Its largest value as it is loaded, of 255.
        stored_type (str): The type of the file's own values, e.g. 'uint16'.
        stored_peak (float): The largest of them.
    """
    file_name: str
    peak: int
    stored_type: str
    stored_peak: float


def check_images(coco: CocoData,
                 img_prefix: str,
                 ids: Optional[Iterable[ImageId]] = None,
                 decode: bool = False,
                 loader: Optional[ImageLoader] = None,
                 workers: int = 8) -> list[UnreadableImage]:
    """Look for images that are missing or broken.

    Without ``decode`` it only asks whether each file exists and is not
    empty. With it every image is read to its last byte, which finds cut-off
    files that OpenCV would fill with grey without a word, and its size is
    compared with the json.

    Args:
        coco (CocoData): The pool.
        img_prefix (str): The folder that ``file_name`` is relative to.
        ids (Iterable[int | str], optional): Images to check. Default: all.
        decode (bool): Whether to read the images.
        loader (ImageLoader, optional): What the pipeline loads them with,
            which decides whether they are rotated by EXIF before their size
            is compared. A json with the size of the stored pixels is a
            mismatch where they are: its boxes would be in the wrong places.
            Half turns and square images cannot be told. Default: mmcv's
            own.
        workers (int): Threads; decoding runs outside python's lock.

    Returns:
        list[UnreadableImage]: In the order of the file; empty when all is
        well.
    """
    return _inspect(coco, img_prefix, ids, decode, loader or ImageLoader(),
                    False, workers).unreadable


def load_images(coco: CocoData,
                img_prefix: str,
                loader: ImageLoader,
                ids: Optional[Iterable[ImageId]] = None,
                workers: int = 8) -> InspectedImages:
    """:func:`check_images` with ``decode``, and each image is also loaded as
    the pipeline will load it.

    It finds what Pillow reads and the loader does not, and values that fill
    a small part of their range.

    Args:
        coco (CocoData): The pool.
        img_prefix (str): The folder that ``file_name`` is relative to.
        loader (ImageLoader): What the pipeline loads them with.
        ids (Iterable[int | str], optional): Images to load. Default: all.
        workers (int): Threads.
    """
    return _inspect(coco, img_prefix, ids, True, loader, True, workers)


class ImageFiles:
    """The files of images, remembered by size and time once they were loaded.

    Args:
        coco (CocoData): The pool.
        img_prefix (str): The folder that ``file_name`` is relative to.
        loader (ImageLoader): What the pipeline loads them with.
        loaded (Iterable[int | str]): Images that were loaded just now.
    """

    def __init__(self,
                 coco: CocoData,
                 img_prefix: str,
                 loader: ImageLoader,
                 loaded: Iterable[ImageId] = ()) -> None:
        self.coco = coco
        self.img_prefix = img_prefix
        self.loader = loader
        self._loaded = {i: self._status(i) for i in loaded}

    def find_broken(self, ids: Iterable[ImageId]) -> list[UnreadableImage]:
        """The images that are missing or can no longer be loaded.

        Only those are loaded that are new, or whose file was changed since
        they were loaded last. What lies behind a file backend is not known
        to change.

        Args:
            ids (Iterable[int | str]): The images.

        Returns:
            list[UnreadableImage]: First the missing ones, then the others,
            each in the order of ``ids``.
        """
        ids = list(ids)
        missing = check_images(
            self.coco, self.img_prefix, ids, loader=self.loader)
        gone = {image.id for image in missing}
        states = {i: self._status(i) for i in ids if i not in gone}
        changed = [i for i, state in states.items()
                   if i not in self._loaded or self._loaded[i] != state]
        broken = load_images(self.coco, self.img_prefix, self.loader,
                             changed).unreadable
        for image in broken:
            del states[image.id]
        self._loaded = states
        return missing + broken

    def _status(self, id: ImageId) -> Optional[tuple[int, int]]:
        return file_status(
            osp.join(self.img_prefix, self.coco.images[id]['file_name']))


def file_status(path: str) -> Optional[tuple[int, int]]:
    """Size in bytes and time in ns; None where there is no such file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def verify_image(path: str,
                 size: Optional[tuple[int, int]] = None,
                 loader: Optional[ImageLoader] = None,
                 load: bool = False) -> Optional[str]:
    """Read one image to its end.

    Args:
        path (str): The file.
        size (tuple[int, int], optional): Expected width and height.
        loader (ImageLoader, optional): See :func:`check_images`.
        load (bool): Whether to load it as well; else it is loaded only where
            Pillow cannot tell.

    Returns:
        str | None: What is wrong with it, or None.
    """
    loader = loader or ImageLoader()
    max_pixels = loader.max_pixels
    with _strict_decoders():
        return _look(path, size, loader, load, max_pixels)[0]


def read_size(prefix: str,
              file_name: str,
              loader: Optional[ImageLoader] = None
              ) -> Union[tuple[int, int], str]:
    """Width and height of an image, as the pipeline loads it.

    It is not decoded.

    Args:
        prefix (str): The folder of the images.
        file_name (str): The file in it.
        loader (ImageLoader, optional): Default: mmcv's own.

    Returns:
        tuple[int, int] | str: In pixels, after the rotation that an EXIF
        orientation asks for; or what is wrong.
    """
    loader = loader or ImageLoader()
    path = osp.join(prefix, file_name)
    try:
        file = path if loader.is_local(path) else io.BytesIO(
            loader.read(path))
        with _strict_decoders(), Image.open(file) as image:
            turned = loader.rotates_format(image.format) and _is_turned(
                image)
            return image.size[::-1] if turned else image.size
    except UnidentifiedImageError:
        return 'it is not an image'
    except OSError as e:
        return _os_reason(e)
    except Exception as e:  # PIL's plugins raise many kinds on broken data
        return f'it is broken ({e})'


def _inspect(coco: CocoData, img_prefix: str,
             ids: Optional[Iterable[ImageId]], decode: bool,
             loader: ImageLoader, load: bool,
             workers: int) -> InspectedImages:
    """Look at images in threads."""
    if ids is None:
        ids, names = coco.ids, coco.file_names
    else:
        ids = list(ids)
        names = [coco.images[i]['file_name'] for i in ids]
    max_pixels = loader.max_pixels

    def look(part: slice) -> list[Optional[tuple]]:
        """What is wrong with the images of a part, and how dark they are."""
        if not decode:
            return [_missing(img_prefix, name, loader) for name in names[part]]
        results = []
        for i, name in zip(ids[part], names[part]):
            found = _address(name, loader)
            if found is None:
                image = coco.images[i]
                found = _look(osp.join(img_prefix, name),
                              (image['width'], image['height']), loader, load,
                              max_pixels)
            results.append(found)
        return results

    # decoding runs outside python's lock, and disks answer several at once
    size = 1 if decode else _FILES_AT_ONCE
    parts = [slice(n, n + size) for n in range(0, len(names), size)]
    unreadable, dark = [], []
    with _strict_decoders(), ThreadPoolExecutor(
            max(1, workers)) as threads, tqdm(
                total=len(names), desc='checking images', unit='img',
                delay=_SHOW_PROGRESS_AFTER) as bar:
        for part, results in zip(parts, threads.map(look, parts)):
            bar.update(len(results))
            if not any(results):  # as a rule; there may be a million
                continue
            for i, name, found in zip(ids[part], names[part], results):
                reason, dark_image = found or (None, None)
                if reason:
                    unreadable.append(UnreadableImage(
                        i, name, osp.join(img_prefix, name), reason))
                if dark_image:
                    dark.append(replace(dark_image, file_name=name))
    loaded = len(names) - len(unreadable) if load else 0
    return InspectedImages(unreadable, loaded, dark, loader)


def _address(name: str, loader: ImageLoader) -> Optional[tuple]:
    if '://' in name and loader.backend_args is None:
        return ('its file_name is an address, and LoadImageFromFile has no '
                'backend_args to fetch it'), None
    return None


def _missing(prefix: str, name: str, loader: ImageLoader) -> Optional[tuple]:
    """Why there is no file, as :func:`_look` says it; None if there is."""
    address = _address(name, loader)
    if address:
        return address
    path = osp.join(prefix, name)
    try:
        if not loader.is_local(path):
            return None if loader.exists(path) else ('no such file', None)
        status = os.stat(path)
    except Exception as e:  # of a file backend, whatever it is
        return _os_reason(e), None
    if stat.S_ISDIR(status.st_mode):
        return 'it is a folder', None
    return None if status.st_size else ('the file is empty', None)


def _look(path: str, size: Optional[tuple[int, int]], loader: ImageLoader,
          load: bool, max_pixels: Optional[int]
          ) -> tuple[Optional[str], Optional[DarkImage]]:
    """What is wrong with an image, and whether it is dark."""
    try:
        content = loader.read(path)
    except Exception as e:  # of a file backend, whatever it is
        return _os_reason(e), None
    if not content:
        return 'the file is empty', None

    # What Pillow says of the header, and whether the file is whole: OpenCV
    # fills what is missing of a jpg with grey.
    kind = stored = problem = None
    turned = False
    try:
        with Image.open(io.BytesIO(content)) as image:
            kind, stored = f'{image.format} ({image.mode})', image.size
            pixels = stored[0] * stored[1]
            if max_pixels and pixels > max_pixels:
                return (
                    f'it has {stored[0]}x{stored[1]} pixels, but '
                    f'{loader.imdecode_backend} loads at most '
                    f'{max_pixels:,}: cut it into tiles or scale it down'
                ), None
            turned = loader.rotates_format(image.format) and _is_turned(
                image)
            well_known = image.format in _WELL_KNOWN
            if image.format == 'PNG' and image.fp is not None:
                image.verify()  # its checksums, without decoding
            elif well_known or pixels <= _LARGE:
                # a jpg at an eighth of its size has every byte decoded but
                # needs half the time
                image.draft('L', (1, 1))
                image.load()
    except UnidentifiedImageError:
        problem, well_known = 'it is not an image', False
    except Exception as e:  # PIL's plugins raise many kinds on broken data
        problem = f'it is truncated or broken ({e})'
        if kind is None:
            well_known = False
    if problem and well_known:
        return problem, None
    seen = stored[::-1] if turned and stored else stored

    # In doubt the loader has the last word, for it decides what is trained
    # on.
    array = None
    if load or problem or (size and seen != tuple(size)):
        large = stored is not None and stored[0] * stored[1] > _LARGE
        with _one_large_image if large else nullcontext():
            try:
                array = loader.decode(content)
                cause = ''
            except Exception as e:  # each backend has kinds of its own
                cause = f': {" ".join(str(e).split())[:200]}'
        if array is None:
            if problem:
                return problem, None
            return (
                f'{loader.imdecode_backend} cannot load this {kind} with '
                f'color_type={loader.color_type!r}{cause}; convert it to '
                '8-bit JPEG or PNG, or set another imdecode_backend in '
                'LoadImageFromFile'), None
        seen = array.shape[1::-1]
    if size and seen != tuple(size):
        note = (' after the rotation that its EXIF orientation asks for and '
                'that mmcv makes: rotate the pixels or remove the tag'
                if turned else '')
        return (f'it is {seen[0]}x{seen[1]}, the json says '
                f'{size[0]}x{size[1]}{note}'), None
    return None, _dark(content, array) if load else None


def _is_turned(image: Image.Image) -> bool:
    """Whether the EXIF orientation of an opened image swaps its sides."""
    if image.format == 'PNG':
        # Pillow would decode all of it before it looks for this chunk
        position = image.fp.tell()
        image.fp.seek(0)
        has_exif = b'eXIf' in image.fp.read()
        image.fp.seek(position)
        if not has_exif:
            return False
    return image.getexif().get(_ORIENTATION, 1) in _QUARTER_TURNS


def _dark(content: bytes, array: np.ndarray) -> Optional[DarkImage]:
    """Whether an image that was loaded in 8 bits is nearly black."""
    if array.dtype != np.uint8 or array.max() > _DARK:
        return None
    import cv2
    stored = cv2.imdecode(
        np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    stored = array if stored is None else stored
    return DarkImage('', int(array.max()), str(stored.dtype),
                     stored.max().item())


def _os_reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return 'no such file'
    if isinstance(error, IsADirectoryError):
        return 'it is a folder'
    return f'it cannot be read ({getattr(error, "strerror", "") or error})'


@contextmanager
def _strict_decoders() -> Iterator[None]:
    """Pillow refuses truncated files, whatever other code has told it, and
    opens large ones, and OpenCV does not print what is returned anyway."""
    import cv2
    log = getattr(cv2.utils, 'logging', cv2)  # OpenCV 5, and 4
    truncated, limit = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    level = log.getLogLevel()
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    Image.MAX_IMAGE_PIXELS = None
    log.setLogLevel(0)  # silent
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = truncated
        Image.MAX_IMAGE_PIXELS = limit
        log.setLogLevel(level)
