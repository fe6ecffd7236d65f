"""Find images of a pool that cannot be used, before they stop a run."""
from __future__ import annotations

import contextlib
import io
import os
import os.path as osp
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Optional

from PIL import Image, ImageFile, UnidentifiedImageError
from tqdm import tqdm

from mmal.types import ImageId
from .coco import CocoData

_ORIENTATION = 0x0112  # EXIF
_SHOW_PROGRESS_AFTER = 5.0  # seconds


@dataclass(frozen=True)
class UnreadableImage:
    """An image that cannot be used.

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
    """Images of the pool that cannot be used.

    Args:
        bad (Sequence[UnreadableImage]): At least one; the message shows the first
            ten.
    """

    def __init__(self, bad: Sequence[UnreadableImage]) -> None:
        self.bad = list(bad)
        lines = [f'  {b}' for b in self.bad[:10]]
        if len(self.bad) > 10:
            lines.append(f'  … and {len(self.bad) - 10} more')
        super().__init__(
            f'{len(self.bad)} image(s) of the pool cannot be used:\n' +
            '\n'.join(lines) + '\nReplace them, or set '
            "active_learning.on_bad_image='skip' to set them aside.")

    def __reduce__(self):  # it travels between processes
        return UnreadableImagesError, (self.bad, )


def check_images(coco: CocoData,
                 img_prefix: str,
                 ids: Optional[Iterable[ImageId]] = None,
                 decode: bool = False,
                 backend_args: Optional[dict] = None,
                 workers: int = 8,
                 apply_exif: bool = True) -> list[UnreadableImage]:
    """Look for images that are missing or broken.

    Without ``decode`` it only asks whether each file exists and is not
    empty. With it every image is read to its last row, which finds cut-off
    files that OpenCV would fill with grey without a word, and its size is
    compared with the json.

    Args:
        coco (CocoData): The pool.
        img_prefix (str): The folder that ``file_name`` is relative to.
        ids (Iterable[int | str], optional): Images to check. Default: all.
        decode (bool): Whether to read the images.
        backend_args (dict, optional): mmengine's file backend.
        workers (int): Threads; decoding runs outside python's lock.
        apply_exif (bool): Compare the size after the rotation that the EXIF
            orientation asks for. mmcv rotates so when it loads an image
            (unless ``color_type`` ends with ``ignore_orientation``), so
            boxes must be meant for the rotated image. A json with the size
            of the stored pixels is a mismatch then: its boxes would be in
            the wrong places. Half turns and square images cannot be told.

    Returns:
        list[UnreadableImage]: In the order of the file; empty when all is well.
    """
    chosen = coco.images.values() if ids is None else [
        coco.images[i] for i in ids]
    check = partial(
        _decode_reason if decode else _file_reason,
        prefix=img_prefix, backend_args=backend_args, apply_exif=apply_exif)
    with _strict_pil(), ThreadPoolExecutor(max(1, workers)) as pool:
        reasons = tqdm(
            pool.map(check, chosen),
            total=len(chosen),
            desc='checking images',
            unit='img',
            delay=_SHOW_PROGRESS_AFTER)
        bad = [
            UnreadableImage(img['id'], img['file_name'],
                     osp.join(img_prefix, img['file_name']), reason)
            for img, reason in zip(chosen, reasons) if reason
        ]
    return bad


def verify_image(path: str,
                 backend_args: Optional[dict] = None,
                 size: Optional[tuple[int, int]] = None,
                 apply_exif: bool = True) -> Optional[str]:
    """Read one image to its end.

    Args:
        path (str): The file.
        backend_args (dict, optional): mmengine's file backend.
        size (tuple[int, int], optional): Expected width and height.
        apply_exif (bool): See :func:`check_images`.

    Returns:
        str | None: What is wrong with it, or None. Images larger than
        PIL's limit against decompression bombs count as fine, unread.
    """
    with _strict_pil():
        return _verify(path, backend_args, size, apply_exif)


def _file_reason(image: dict, prefix: str, backend_args: Optional[dict],
                 **kwargs) -> Optional[str]:
    path = osp.join(prefix, image['file_name'])
    if not _is_local(path, backend_args):
        from mmengine import fileio
        found = fileio.isfile(path, backend_args)
        return None if found else 'no such file'
    try:
        return None if os.stat(path).st_size else 'the file is empty'
    except OSError as e:
        return _os_reason(e)


def _decode_reason(image: dict, prefix: str, backend_args: Optional[dict],
                   apply_exif: bool) -> Optional[str]:
    path = osp.join(prefix, image['file_name'])
    size = (image['width'], image['height'])
    return _verify(path, backend_args, size, apply_exif)


def _verify(path, backend_args, size, apply_exif) -> Optional[str]:
    try:
        content = _read(path, backend_args)
    except OSError as e:
        return _os_reason(e)
    if not content:
        return 'the file is empty'
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            return _size_reason(image, size, apply_exif)
    except UnidentifiedImageError:
        return 'it is not an image'
    except Image.DecompressionBombError:
        return None
    except Exception as e:  # PIL's plugins raise many kinds on broken data
        return f'it is truncated or broken ({e})'


def _size_reason(image: Image.Image, size: Optional[tuple[int, int]],
                 apply_exif: bool) -> Optional[str]:
    if size is None:
        return None
    actual, note = image.size, ''
    turned = apply_exif and image.getexif().get(_ORIENTATION, 1) in range(5, 9)
    if turned:
        actual, note = actual[::-1], (
            ' after the rotation that its EXIF orientation asks for and that '
            'mmcv makes: rotate the pixels or remove the tag')
    if actual == tuple(size):
        return None
    return (f'it is {actual[0]}x{actual[1]}, the json says '
            f'{size[0]}x{size[1]}{note}')


def _read(path: str, backend_args: Optional[dict]) -> bytes:
    if _is_local(path, backend_args):
        with open(path, 'rb') as f:
            return f.read()
    from mmengine import fileio
    return fileio.get(path, backend_args)


def _is_local(path: str, backend_args: Optional[dict]) -> bool:
    return backend_args is None and '://' not in path


def _os_reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return 'no such file'
    return f'it cannot be read ({error.strerror or error})'


@contextlib.contextmanager
def _strict_pil() -> Iterator[None]:
    """Other code may have told PIL to accept truncated files."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before
