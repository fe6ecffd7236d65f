"""Photos that a file lists twice: they would be paid for twice."""
from __future__ import annotations

import hashlib
import os
import os.path as osp
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Optional

from tqdm import tqdm

from mmal.types import ImageId
from .coco import CocoData, some

_TAIL = 4096  # bytes; photos of one camera begin alike and end otherwise
_SHOW_PROGRESS_AFTER = 5.0  # seconds


def duplicate_photos(coco: CocoData,
                     img_prefix: str,
                     workers: int = 8) -> list[list[ImageId]]:
    """Images with other ids that are the same photo: one path or equal bytes.

    Of files that have their size for themselves nothing is read, of others
    the end, and only where that is equal too the whole file. Missing files
    are no duplicates.

    Args:
        coco (CocoData): N images.
        img_prefix (str): The folder that ``file_name`` is relative to.
        workers (int): Threads that read.

    Returns:
        list[list[int | str]]: The ids of each photo that is there more than
        once, in the order of the file.
    """
    paths = {i: osp.normpath(osp.join(img_prefix, image['file_name']))
             for i, image in coco.images.items()}
    by_path = defaultdict(list)
    for i, path in paths.items():
        by_path[path].append(i)

    # size, then the end, then all of it: what is alone needs no next step
    known: dict[str, tuple] = dict.fromkeys(by_path, ())
    steps = {'sizes of images': _size, 'looking for duplicates': _hash_end,
             'comparing duplicates': _hash}
    with ThreadPoolExecutor(max(1, workers)) as threads:
        for desc, step in steps.items():
            values = tqdm(
                threads.map(step, list(known)), total=len(known), desc=desc,
                unit='img', delay=_SHOW_PROGRESS_AFTER)
            keys = {path: (*key, value)
                    for (path, key), value in zip(known.items(), values)
                    if value is not None}
            times = Counter(keys.values())
            known = {p: key for p, key in keys.items() if times[key] > 1}
    groups = defaultdict(list)
    for i, path in paths.items():
        groups[known.get(path, path)].append(i)
    return [ids for ids in groups.values() if len(ids) > 1]


def duplicates_note(coco: CocoData, img_prefix: str) -> Optional[str]:
    """A sentence on :func:`duplicate_photos`; None if there are none."""
    groups = duplicate_photos(coco, img_prefix)
    if not groups:
        return None
    examples = some((
        f'{coco.images[ids[0]]["file_name"]} (ids '
        f'{", ".join(map(str, ids[:4]))})' for ids in groups), 3)
    return (f'{coco.path} lists {len(groups):,} photos under several ids '
            '(the same path, or the same bytes). Each would be labelled and '
            f'paid for as often: {examples}. Keep one id of each.')


def _size(path: str) -> Optional[int]:
    """In bytes; None of what is no file, or empty."""
    try:
        return os.stat(path).st_size or None
    except OSError:
        return None


def _hash_end(path: str) -> Optional[bytes]:
    return _hash(path, _TAIL)


def _hash(path: str, last: Optional[int] = None) -> Optional[bytes]:
    """Of a file, or of its last bytes; None if it cannot be read."""
    try:
        with open(path, 'rb') as f:
            if last is not None:
                f.seek(max(0, os.stat(path).st_size - last))
            return hashlib.blake2b(f.read(), digest_size=16).digest()
    except OSError:
        return None
