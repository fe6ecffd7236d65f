"""Photos that a file lists twice: they would be paid for twice."""
from __future__ import annotations

import hashlib
import os
import os.path as osp
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Optional

import numpy as np
from PIL import Image
from tqdm import tqdm

from mmal.types import ImageId
from .coco import CocoData, some

_TAIL = 4096  # bytes; photos of one camera begin alike and end otherwise
_ALIKE = 3  # bits of 144 that may differ
_LEVELS = 6  # of 256, in the mean
_CONTRAST = 16  # of 256
_SHOW_PROGRESS_AFTER = 5.0  # seconds


def duplicate_photos(coco: CocoData,
                     img_prefix: str,
                     workers: int = 8,
                     most_read: int = 200_000) -> list[list[ImageId]]:
    """Images with other ids that are the same photo: one path or equal bytes.

    Of files that have their size for themselves nothing is read, of others
    the end, and only where that is equal too the whole file. Missing files
    are no duplicates. In a million photos most have the size of another one,
    and a look at each takes longer than it is worth: see ``most_read``.

    Args:
        coco (CocoData): N images.
        img_prefix (str): The folder that ``file_name`` is relative to.
        workers (int): Threads that read.
        most_read (int): In pools of more images only paths are compared.

    Returns:
        list[list[int | str]]: The ids of each photo that is there more than
        once, in the order of the file.
    """
    ids, names = coco.ids, coco.file_names
    if len(ids) > most_read and len(set(names)) == len(names):
        together = '\n' + '\n'.join(names)
        if not any(odd in together for odd in ('//', '/.', '\n.', '\n/')):
            return []
    paths = [osp.join(img_prefix, name) for name in names]
    if any('//' in path or '/.' in path or path[:1] == '.'
           for path in paths):
        paths = [osp.normpath(path) for path in paths]

    # size, then the end, then all of it: what is alone needs no next step
    known: dict[str, tuple] = {}
    if len(ids) <= most_read:
        known = dict.fromkeys(paths, ())
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
    if not known and len(set(paths)) == len(paths):
        return []
    groups = defaultdict(list)
    for i, path in zip(ids, paths):
        groups[known.get(path, path)].append(i)
    return [same for same in groups.values() if len(same) > 1]


def look_alikes(coco: CocoData,
                img_prefix: str,
                workers: int = 8) -> list[list[ImageId]]:
    """Photos that look nearly the same: copies at another size or quality,
    frames of a video.

    Photos are compared when they are shrunk to 9 x 9 grey pixels: of the
    signs of the 144 differences between neighbours a few may differ (a
    difference hash), and the pixels by some levels in the mean. Photos
    without contrast look like nothing.

    Args:
        coco (CocoData): N images.
        img_prefix (str): The folder that ``file_name`` is relative to.
        workers (int): Threads that read.

    Returns:
        list[list[int | str]]: The ids of photos that look alike, in the order
        of the file; each image is in one list at most. Equal files are among
        them.
    """
    ids = coco.ids
    paths = [osp.join(img_prefix, name) for name in coco.file_names]
    with ThreadPoolExecutor(max(1, workers)) as threads:
        small = list(tqdm(
            threads.map(_shrunk, paths), total=len(paths),
            desc='comparing photos', unit='img', delay=_SHOW_PROGRESS_AFTER))
    seen = [n for n, pixels in enumerate(small) if pixels is not None]
    if not seen:
        return []
    pixels = np.stack([small[n] for n in seen])
    bits = np.concatenate(
        [(np.diff(pixels, axis=axis) > 0).reshape(len(seen), -1)
         for axis in (1, 2)], axis=1)

    # Of one part more than bits may differ, one at least is equal: only
    # photos that share a part are compared.
    first = np.arange(len(seen))
    for part in np.array_split(np.arange(bits.shape[1]), _ALIKE + 1):
        packed = np.packbits(bits[:, part], axis=1)
        _, group, sizes = np.unique(
            packed, axis=0, return_inverse=True, return_counts=True)
        order = np.argsort(group.ravel(), kind='stable')
        for rows in np.split(order, np.cumsum(sizes)[:-1]):
            for n, row in enumerate(rows[:-1]):
                others = rows[n + 1:]
                alike = (bits[others] != bits[row]).sum(1) <= _ALIKE
                alike &= np.abs(pixels[others] - pixels[row]).mean(
                    (1, 2)) <= _LEVELS
                for other in others[alike]:
                    # both, and all that look like them, under the first one
                    low, high = sorted((first[row], first[other]))
                    if low != high:
                        first[first == high] = low
    groups = defaultdict(list)
    for n, leader in zip(seen, first):
        groups[leader].append(ids[n])
    return [same for same in groups.values() if len(same) > 1]


def _shrunk(path: str) -> Optional[np.ndarray]:
    """A photo as 9 x 9 grey pixels, int16; None if they are all alike."""
    try:
        with Image.open(path) as image:
            image.draft('L', (72, 72))  # JPEG at a fraction of its size
            pixels = np.asarray(
                image.convert('L').resize((9, 9), Image.BOX), np.int16)
    except Exception:  # whoever reads the pool says what is wrong
        return None
    return pixels if np.ptp(pixels) >= _CONTRAST else None


def look_alikes_note(coco: CocoData, img_prefix: str) -> Optional[str]:
    """A sentence on :func:`look_alikes`; None if there are none."""
    groups = look_alikes(coco, img_prefix)
    if not groups:
        return None
    examples = some((' and '.join(
        coco.images[i]['file_name'] for i in ids[:2]) for ids in groups), 3)
    return (f'{sum(map(len, groups)):,} photos look nearly like another one, '
            f'in {len(groups):,} groups: {examples}. Copies, or frames of a '
            'video: one of each may be enough to label.')


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
