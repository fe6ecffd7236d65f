"""File names that labelling tools have changed, found again."""
from __future__ import annotations

import os.path as osp
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Optional
from urllib.parse import unquote

from .coco import some

# Roboflow: photo_jpg.rf.0123….jpg is photo.jpg
_ROBOFLOW = re.compile(r'_([A-Za-z0-9]+)\.rf\.[0-9A-Za-z]{16,}\.[A-Za-z]+$')
# Label Studio: 0a1b2c3d-photo.jpg was uploaded as photo.jpg
_UPLOAD = re.compile(r'^[0-9a-f]{8}-')


class NameIndex:
    """Our images by the names that other files may give them.

    Tried in this order: the same name; the same with the other separators,
    another form of accents, or written as part of an address; the names that
    Label Studio and Roboflow make of ours; the same path below more or fewer
    folders, where only one image of ours has it.

    Args:
        ours (collection[str]): File names of the pool.
        other_folders (bool): Whether folders may be others altogether, as
            labelling tools make them. Elsewhere ``a/1.jpg`` and ``b/1.jpg``
            are two photos.
    """

    def __init__(self,
                 ours: Collection[str],
                 other_folders: bool = False) -> None:
        self._known = set(ours)
        self._forms: dict[str, str] = {}
        for name in ours:
            self._forms.setdefault(_plain(name), name)
        endings = Counter(e for name in ours for e in _endings(_plain(name)))
        self._by_ending = {e: name for name in ours
                           for e in _endings(_plain(name))
                           if endings[e] == 1}
        self._other_folders = other_folders

    def find(self, name: str) -> Optional[str]:
        """Our name of an image; None if there is none of that name."""
        if name in self._known:
            return name
        forms, by_ending = self._forms, self._by_ending
        candidates = list(_candidates(name))
        # more folders on our side, then more on theirs
        image = next((forms[c] for c in candidates if c in forms), None) or \
            next((by_ending[c] for c in candidates if c in by_ending),
                 None) or \
            next((forms[e] for c in candidates for e in _endings(c)
                  if e in forms), None)
        if image is None and self._other_folders:
            image = next((by_ending[e] for c in candidates
                          for e in _endings(c) if e in by_ending), None)
        return image

    def match(self, theirs: Iterable[str]) -> dict[str, str]:
        """Which of our images each name of another file means.

        Args:
            theirs (iterable[str]): File names of another file.

        Returns:
            dict[str, str]: Their name to ours, for those that are found.

        Raises:
            ValueError: If two of their names mean one image of ours.
        """
        found = {name: self.find(name) for name in theirs}
        matched = {name: image for name, image in found.items()
                   if image is not None}
        times = Counter(matched.values())
        doubtful = [n for n, image in matched.items() if times[image] > 1]
        if doubtful:
            raise ValueError(
                'several names mean the same image of the pool: '
                f'{some(doubtful)}. Keep one entry for each image.')
        return matched


def is_inside(path: str, folder: str) -> bool:
    """Whether a path leads into a folder, by its words.

    Links are followed, for data sets are often made of them: who can put a
    link into the folder could put the image there as well. Where that must
    not be, resolve both with :func:`os.path.realpath` first.

    Args:
        path (str): A name joined to the folder.
        folder (str): The folder.
    """
    # behind a link, .. leads elsewhere than the words say
    below = path.removeprefix(folder)
    if '..' in below.replace(osp.sep, '/').split('/'):
        return False
    folder = osp.join(osp.abspath(folder), '')
    return osp.abspath(path).startswith(folder)


def _candidates(name: str) -> Iterator[str]:
    """What a name may have been before a labelling tool changed it."""
    plain = _plain(name)
    yield plain
    address = unquote(plain.rsplit('?d=', 1)[-1])
    yield address
    folder, _, last = address.rpartition('/')
    prefix = f'{folder}/' if folder else ''
    yield prefix + _UPLOAD.sub('', last)
    yield prefix + _ROBOFLOW.sub(r'.\1', last)


def _plain(name: str) -> str:
    return unicodedata.normalize('NFC', name).replace('\\', '/')


def _endings(path: str) -> Iterator[str]:
    """A path without its first folder, its first two and so on."""
    while '/' in path:
        path = path.split('/', 1)[1]
        yield path
