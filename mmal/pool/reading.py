"""COCO files read together with the folder of their images."""
from __future__ import annotations

import os.path as osp
import unicodedata
from functools import partial
from typing import Optional

from .coco import CocoData, load_coco
from .image_loader import ImageLoader
from .images import read_size


def load_with_images(path: str,
                     img_prefix: str,
                     need_annotations: bool = True,
                     crowd: str = 'ignore',
                     loader: Optional[ImageLoader] = None) -> CocoData:
    """:func:`~mmal.pool.coco.load_coco`, and what its entries lack or spell
    otherwise is taken from the images.

    Args:
        path (str): The file.
        img_prefix (str): The folder that ``file_name`` is relative to.
        need_annotations, crowd: See :func:`~mmal.pool.coco.load_coco`.
        loader (ImageLoader, optional): What the pipeline loads the images
            with. Default: mmcv's own.

    Returns:
        CocoData: With the sizes of images that have none in the file, and
        with names as they are on the disk.

    Raises:
        FileNotFoundError, ValueError: See :func:`~mmal.pool.coco.load_coco`.
    """
    coco = load_coco(
        path,
        need_annotations=need_annotations,
        read_size=partial(read_size, img_prefix, loader=loader),
        find_file=partial(find_file, img_prefix),
        crowd=crowd)
    refuse_addresses(coco, loader)
    return coco


def refuse_addresses(coco: CocoData,
                     loader: Optional[ImageLoader] = None) -> None:
    """Refuse images that are to be fetched where nothing says how.

    Args:
        coco (CocoData): The images.
        loader (ImageLoader, optional): What loads them. One with
            ``backend_args`` fetches them.

    Raises:
        ValueError: Naming the file and an address.
    """
    if loader is not None and loader.backend_args is not None:
        return
    addresses = [name for name in coco.file_names if '://' in name]
    if addresses:
        raise ValueError(
            f'{coco.path}: the file_name of {len(addresses):,} of '
            f'{len(coco.images):,} images is an address, e.g. '
            f'{addresses[0]!r}: download the images and write their names on '
            'the disk into the json, or give LoadImageFromFile the '
            'backend_args that fetch them.')


def find_file(prefix: str, name: str) -> Optional[str]:
    """How a file is called on the disk.

    Files made on Windows have its separators in their names, and macOS takes
    accents apart (NFD) where others write them as one letter (NFC).

    Args:
        prefix (str): The folder of the images.
        name (str): The name in a COCO file.

    Returns:
        str | None: The name as it is where there is such a file, or the one
        other spelling that is a file; None if there are none or several.
    """
    if osp.exists(osp.join(prefix, name)):
        return name
    spellings = {
        unicodedata.normalize(form, text)
        for form in ('NFC', 'NFD') for text in (name, name.replace('\\', '/'))
    }
    files = [s for s in spellings if osp.isfile(osp.join(prefix, s))]
    return files[0] if len(files) == 1 else None
