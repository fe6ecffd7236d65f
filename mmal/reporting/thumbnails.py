"""Small pictures of images: in the page as long as they fit, or beside it."""
from __future__ import annotations

import base64
import hashlib
import math
import os
import os.path as osp
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Optional
from urllib.parse import quote

import cv2
import numpy as np

from mmal.fileio import write_bytes

Size = tuple[int, int]

# Longest sides in pixels, from good to just enough.
SIDES = (640, 480, 320, 256, 192, 160)
STORED_SIDE = 480
_PREFIX = 'data:image/webp;base64,'
QUALITY = 55  # of WebP
_SAMPLE = 12


@dataclass(frozen=True)
class Thumbnail:
    """A small picture.

    Args:
        address (str): For an ``img`` tag: a ``data:`` address, or the file
            beside the page.
        size (tuple[int, int]): Width and height of the image itself.
    """
    address: str
    size: Size


def make_thumbnails(paths: Sequence[str],
                    folder: str,
                    budget: int,
                    sizes: Optional[Mapping[str, Size]] = None
                    ) -> dict[str, Thumbnail]:
    """Small pictures, as large as the budget allows.

    Args:
        paths (sequence[str]): Image files.
        folder (str): Where pictures go that do not fit into the page.
        budget (int): Characters that all ``data:`` addresses may take
            together. If even the smallest pictures take more, all become
            files; one that was made before from the same file is kept.
        sizes (mapping[str, tuple[int, int]], optional): Width and height of
            images, as far as they are known; large ones are then decoded at a
            lower resolution.

    Returns:
        dict[str, Thumbnail]: By path; images that cannot be read are missing.
    """
    paths, sizes = list(dict.fromkeys(paths)), sizes or {}
    step = max(1, len(paths) // _SAMPLE)
    sample = [picture for path in paths[::step][:_SAMPLE]
              if (picture := _decode(path, SIDES[0], sizes.get(path)))]
    # with some room, for the sample may be simpler than all the others
    per_image = (0.9 * budget / max(1, len(paths)) - len(_PREFIX)) * 3 / 4
    fitting = [side for side in SIDES if sample and sum(
        len(_encode(picture, side)) for picture, _ in sample
    ) / len(sample) < per_image]

    def shrunk(path: str, side: int) -> Optional[tuple[bytes, Size]]:
        decoded = _decode(path, side, sizes.get(path))
        return decoded and (_encode(decoded[0], side), decoded[1])

    def stored(path: str) -> Optional[Thumbnail]:
        try:
            status = os.stat(path)
        except OSError:
            return None
        key = f'{path}|{status.st_size}|{status.st_mtime_ns}'
        name = hashlib.blake2b(key.encode(errors='surrogateescape'),
                               digest_size=10).hexdigest() + '.webp'
        file = osp.join(folder, name)
        address = f'{quote(osp.basename(folder))}/{name}'
        if osp.exists(file) and path in sizes:
            return Thumbnail(address, sizes[path])
        decoded = _decode(path, STORED_SIDE, sizes.get(path))
        if decoded is None:
            return None
        write_bytes(file, _encode(decoded[0], STORED_SIDE))
        return Thumbnail(address, decoded[1])

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for side in fitting:
            pictures = list(pool.map(partial(shrunk, side=side), paths))
            # base64 writes 4 characters for 3 bytes, and fills up the last 4
            if sum(len(_PREFIX) + 4 * math.ceil(len(p[0]) / 3)
                   for p in pictures if p) <= budget:
                return {
                    path: Thumbnail(
                        _PREFIX + base64.b64encode(p[0]).decode(), p[1])
                    for path, p in zip(paths, pictures) if p}
        thumbnails = pool.map(stored, paths)
        return {path: t for path, t in zip(paths, thumbnails) if t}


def _decode(path: str, side: int, size: Optional[Size]
            ) -> Optional[tuple[np.ndarray, Size]]:
    """An image, BGR, at a resolution of at least ``side`` or its own; and the
    width and height it has. None if it cannot be read."""
    factor = 1
    if size is not None:
        factor = next((f for f in (8, 4, 2) if max(size) >= f * side), 1)
    flag = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2,
            4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
    if not osp.isfile(path):  # a pipe would be waited for
        return None
    # cv2.imread would warn on stderr about every file it cannot read, and
    # cannot open names outside the code page on Windows
    try:
        content = np.fromfile(path, dtype=np.uint8)
        picture = cv2.imdecode(content, flag[factor]) if len(content) else None
    except (OSError, cv2.error):
        picture = None
    if picture is None:
        return None
    return picture, size or (picture.shape[1], picture.shape[0])


def _encode(picture: np.ndarray, side: int) -> bytes:
    """WebP whose longest side is at most ``side``; never enlarged."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    if scale < 1:
        picture = cv2.resize(
            picture, (max(1, round(width * scale)),
                      max(1, round(height * scale))),
            interpolation=cv2.INTER_AREA)
    return cv2.imencode('.webp', picture,
                        [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1].tobytes()
