"""Find unreadable images of a pool before they stop a run."""
from __future__ import annotations

import contextlib
import io
import os
import os.path as osp
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Optional, Union

from PIL import Image, ImageFile, UnidentifiedImageError
from tqdm import tqdm

from mmal.types import ImageId
from .coco import CocoData

_ORIENTATION = 0x0112  # EXIF
_QUARTER_TURNS = range(5, 9)  # its values that swap width and height
_SHOW_PROGRESS_AFTER = 5.0  # seconds


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
        list[UnreadableImage]: In the order of the file; empty when all is
        well.
    """
    checked = coco.images.values() if ids is None else [
        coco.images[i] for i in ids]

    def reason_of(image: dict) -> Optional[str]:
        path = osp.join(img_prefix, image['file_name'])
        if '://' in image['file_name'] and backend_args is None:
            return ('its file_name is an address: download the images, and '
                    'write their names on the disk into the json')
        if decode:
            size = (image['width'], image['height'])
            return _decode(path, backend_args, size, apply_exif)
        if not _is_local(path, backend_args):
            from mmengine import fileio
            exists = fileio.isfile(path, backend_args)
            return None if exists else 'no such file'
        try:
            return None if os.stat(path).st_size else 'the file is empty'
        except OSError as e:
            return _os_reason(e)

    # decoding runs outside python's lock, and disks answer several at once
    with _strict_pil(), ThreadPoolExecutor(max(1, workers)) as threads:
        reasons = tqdm(
            threads.map(reason_of, checked),
            total=len(checked),
            desc='checking images',
            unit='img',
            delay=_SHOW_PROGRESS_AFTER)
        return [
            UnreadableImage(image['id'], image['file_name'],
                            osp.join(img_prefix, image['file_name']), reason)
            for image, reason in zip(checked, reasons) if reason
        ]


def read_size(prefix: str, file_name: str) -> Union[tuple[int, int], str]:
    """Width and height of an image, as mmcv loads it.

    Only its header is read.

    Args:
        prefix (str): The folder of the images.
        file_name (str): The file in it.

    Returns:
        tuple[int, int] | str: In pixels, after the rotation that an EXIF
        orientation asks for; or what is wrong.
    """
    try:
        with Image.open(osp.join(prefix, file_name)) as image:
            turned = image.getexif().get(_ORIENTATION, 1) in range(5, 9)
            return image.size[::-1] if turned else image.size
    except OSError as e:
        return _os_reason(e)
    except Exception as e:  # PIL's plugins raise many kinds on broken data
        return f'it is broken ({e})'


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
        return _decode(path, backend_args, size, apply_exif)


def _decode(path: str, backend_args: Optional[dict],
            size: Optional[tuple[int, int]],
            apply_exif: bool) -> Optional[str]:
    """What is wrong with an image, see :func:`verify_image`."""
    try:
        if _is_local(path, backend_args):
            with open(path, 'rb') as f:
                content = f.read()
        else:
            from mmengine import fileio
            content = fileio.get(path, backend_args)
    except OSError as e:
        return _os_reason(e)
    if not content:
        return 'the file is empty'
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            if size is None:
                return None
            actual, note = image.size, ''
            turned = apply_exif and image.getexif().get(
                _ORIENTATION, 1) in _QUARTER_TURNS
    except UnidentifiedImageError:
        return 'it is not an image'
    except Image.DecompressionBombError:
        return None  # large, not broken: OpenCV reads 2**30 pixels
    except Exception as e:  # PIL's plugins raise many kinds on broken data
        return f'it is truncated or broken ({e})'
    if turned:
        actual, note = actual[::-1], (
            ' after the rotation that its EXIF orientation asks for and that '
            'mmcv makes: rotate the pixels or remove the tag')
    if actual == tuple(size):
        return None
    return (f'it is {actual[0]}x{actual[1]}, the json says '
            f'{size[0]}x{size[1]}{note}')


def _is_local(path: str, backend_args: Optional[dict]) -> bool:
    """Whether a file is on a disk, which needs no mmengine to read."""
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
