"""Where the files of a VOC folder are: xml files, lists of them, photos."""
from __future__ import annotations

import os.path as osp
import re
import unicodedata
from collections.abc import Iterator, Sequence

from .classes import read_text
from .conversion import Notes
from .photos import is_photo, list_files, stem_of

ANNOTATION_FOLDERS = ('Annotations', 'annotations', 'xml', 'xmls')
IMAGE_FOLDERS = ('JPEGImages', 'images', 'Images', 'imgs', 'img')


class VocFolder:
    """A folder of VOC's form.

    It has ``Annotations``, ``JPEGImages`` and, for splits, lists in
    ``ImageSets/Main``; or xml files beside their photos, as LabelImg writes
    them, in folders below it as well.

    Args:
        folder (str): The folder.

    Raises:
        OSError: If a folder cannot be listed.
        ValueError: If two xml files are of one photo.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.annotations = _subfolder(folder, ANNOTATION_FOLDERS, folder)
        names = (list_files(self.annotations)
                 if osp.isdir(self.annotations) else [])
        self._xml: dict[str, str] = {}
        for name in names:
            if name.lower().endswith('.xml'):
                other = self._xml.setdefault(_key(name), name)
                if other != name:
                    raise ValueError(
                        f'{osp.join(self.annotations, name)} and {other} '
                        'are of one photo. Remove one of them.')
        self.img_prefix = _subfolder(
            folder, IMAGE_FOLDERS,
            folder if self.annotations == folder else osp.join(
                folder, IMAGE_FOLDERS[0]))
        # Where photos are, not where folders of the right name are: those
        # of annotation tools are often empty.
        self.photos: list[str] = []
        for place in dict.fromkeys([
                *(osp.join(folder, n) for n in IMAGE_FOLDERS),
                self.annotations, folder]):
            names = list_files(place) if osp.isdir(place) else []
            names = [n for n in names if is_photo(n)]
            if place == folder != self.annotations:
                # Below it may be masks and other things that are no photos.
                names = [n for n in names if '/' not in n]
            if names:
                self.img_prefix, self.photos = place, names
                break
        self._by_stem: dict[str, list[str]] = {}
        self._by_folded_stem: dict[str, list[str]] = {}
        for name in self.photos:
            stem = stem_of(name)
            for key in {stem, osp.basename(stem)}:
                self._by_stem.setdefault(key, []).append(name)
            for key in {stem.casefold(), osp.basename(stem).casefold()}:
                self._by_folded_stem.setdefault(key, []).append(name)

    @property
    def has_lists(self) -> bool:
        """Whether lists divide it into splits."""
        return osp.isdir(osp.join(self.folder, 'ImageSets'))

    @property
    def splits(self) -> list[str]:
        """The sets it is converted to where nobody names any: train and val,
        or the one set ``''`` of all its xml files if it has no lists."""
        return ['train', 'val'] if self.has_lists else ['']

    def xml_files(self, split: str, notes: Notes) -> list[str]:
        """The xml files of a split, in its order.

        Args:
            split (str): The name of a list, or '' for all. In a folder
                without lists all of them are the split.
            notes (Notes): Gets what was left out.

        Returns:
            list[str]: Names relative to ``annotations``. A name in a list
            that has no xml file is returned as well.

        Raises:
            ValueError: If there are none, or the list is missing.
        """
        advice = ('Give the folder of one VOC year, e.g. '
                  'data/VOCdevkit/VOC2012, with Annotations, ImageSets and '
                  'JPEGImages in it, or a folder of photos with an xml file '
                  'beside each.')
        if self._xml and not (split and self.has_lists):
            if split:
                notes.add(f'no ImageSets, all xml files are {split!r}')
            return sorted(self._xml.values())
        if not split:
            raise ValueError(f'{self.folder} has neither xml files nor '
                             f'ImageSets/Main/train.txt. {advice}')
        lists = osp.join(self.folder, 'ImageSets')
        path = osp.join(lists, 'Main', f'{split}.txt')
        if not osp.isfile(path) and osp.isfile(
                osp.join(lists, f'{split}.txt')):
            path = osp.join(lists, f'{split}.txt')
        try:
            text = read_text(path)
        except OSError as e:
            raise ValueError(f'{path}: {e.strerror}. {advice}') from e

        chosen: dict[str, None] = {}
        for line in filter(str.strip, text.splitlines()):
            keys = list(names_in_line(line))
            existing = [k for k in keys if k in self._xml]
            # Where none exists, reading the first of them says so.
            name = self._xml[existing[0]] if existing else f'{keys[0]}.xml'
            if name in chosen:
                notes.add('images that stand twice in a list, taken once',
                          f'{osp.basename(path)}: {line.strip()}')
            chosen[name] = None
        return list(chosen)

    def photo_of(self, xml_name: str, stated: str) -> str:
        """The photo of an xml file.

        The xml file's own name goes before its ``<filename>``, which is
        often that of before somebody renamed both.

        Args:
            xml_name (str): The xml file, relative to ``annotations``.
            stated (str): Its ``<filename>``, or ''.

        Returns:
            str: Relative to ``img_prefix``: the photo on disk, or where it
            should be.

        Raises:
            ValueError: If several photos fit equally well.
        """
        # <filename> may be a path of another machine.
        key, stated = _key(xml_name), osp.basename(stated)
        stems = (key, osp.basename(key), stem_of(stated))
        # On Windows IMG.JPG and img.xml belong together.
        for names in (*(self._by_stem.get(s, []) for s in stems),
                      *(self._by_folded_stem.get(s.casefold(), [])
                        for s in stems)):
            if len(names) > 1:
                named = unicodedata.normalize('NFC', stated)
                fitting = [n for n in names if named == unicodedata.normalize(
                    'NFC', osp.basename(n))]
                if len(fitting) != 1:
                    raise ValueError(
                        f'{osp.join(self.annotations, xml_name)} may be of '
                        f'any of the photos {", ".join(names[:5])}. Give '
                        'them different names.')
                names = fitting
            if names:
                return names[0]
        name = stated or osp.basename(key)
        return osp.join(osp.dirname(key),
                        name if is_photo(name) else f'{name}.jpg')


def _subfolder(folder: str, names: Sequence[str], default: str) -> str:
    """The first of some folders that exists."""
    existing = (osp.join(folder, name) for name in names)
    return next(filter(osp.isdir, existing), default)


def _key(name: str) -> str:
    """An xml file, or what a list calls it, without the extensions."""
    if name.lower().endswith('.xml'):
        name = name[:-len('.xml')]
    return stem_of(name)


def names_in_line(line: str) -> Iterator[str]:
    """What a line of a list may mean, the likeliest first.

    Names may have blanks, extensions or folders before them; VOC's lists of
    a class have -1, 0 or 1 behind them.

    Examples:
        >>> next(names_in_line('my photo.jpg -1'))
        'my photo'
    """
    line = line.strip().replace('\\', '/')
    flagged = re.fullmatch(r'(.*\S)\s+-?[01]', line)
    names = [flagged.group(1)] if flagged else []
    names += [line, line.split()[0]]
    yield from (_key(n) for n in names)
    yield from (_key(osp.basename(n)) for n in names)
