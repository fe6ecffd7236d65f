"""Annotations in PASCAL VOC's xml form, of VOC itself or of one's own photos.

VOC counts pixels from 1. Boxes become ``[xmin - 1, ymin - 1, xmax - xmin,
ymax - ymin]`` with coordinates cut to whole numbers, which are the values
that mmdet's ``VOCDataset`` trains on.
"""
from __future__ import annotations

import os.path as osp
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Optional, Union

from tqdm import tqdm

from .classes import (
    VOC_CLASSES,
    check_known,
    check_spelling,
    nearest_name,
    read_classes,
)
from .conversion import CocoBuilder, Conversion, Notes, categories_of
from .exchange import parse_xml
from .photos import PhotoSize, photo_sizes
from .voc_folder import VocFolder

_SIDES = ('xmin', 'ymin', 'xmax', 'ymax')
_YES = ('1', 'true', 'yes', 'y', 'difficult')
_NO = ('', '0', 'false', 'no', 'n', 'none', 'unspecified')


@dataclass(frozen=True)
class VocObject:
    """An object of an xml file.

    Args:
        name (str): Its class.
        corners (tuple[int, int, int, int]): xmin, ymin, xmax, ymax as they
            stand there, but put in order.
        difficult (bool): Whether it is marked so.
    """
    name: str
    corners: tuple[int, int, int, int]
    difficult: bool

    @classmethod
    def read(cls, element: ElementTree.Element, number: int, path: str,
             notes: Notes) -> VocObject:
        """Read an ``<object>``.

        Args:
            element (Element): The element.
            number (int): Which one of the file it is, from 1.
            path (str): The file.
            notes (Notes): Gets what was repaired.

        Raises:
            ValueError: If it has no class or no box.
        """
        name = ' '.join((element.findtext('name') or '').split())
        if not name:
            raise ValueError(
                f'{path}: <object> number {number} has no <name>. Write its '
                'class there, or remove the object.')
        texts = [element.findtext(f'bndbox/{side}') for side in _SIDES]
        if None in texts:
            side = _SIDES[texts.index(None)]
            raise ValueError(
                f'{path} has an object ({name}, <object> number {number}) '
                f'without a box: there is no <{side}> in a <bndbox>. Add it, '
                'or remove the object; turned boxes and polygons are not '
                'read.')
        try:
            # Cut off, not rounded, as mmdet and VOC's own tools do.
            left, top, right, bottom = (int(float(t)) for t in texts)
        except (ValueError, OverflowError):
            raise ValueError(
                f'{path} has an object ({name}, <object> number {number}) '
                f'without a box: its <bndbox> is {texts}, where four numbers '
                'are needed (with a point before decimals).') from None
        if left > right or top > bottom:
            notes.add('boxes whose corners were swapped, put in order',
                      osp.basename(path))
            left, right = sorted((left, right))
            top, bottom = sorted((top, bottom))
        difficult = is_difficult(element.findtext('difficult'))
        if difficult is None:
            notes.add('values of <difficult> that are neither yes nor no, '
                      'taken as no', osp.basename(path))
        return cls(name, (left, top, right, bottom), bool(difficult))


@dataclass
class VocImage:
    """An xml file.

    Args:
        path (str): The file.
        file_name (str): What it calls its photo; '' if nothing.
        size (tuple[int, int], optional): Width and height it states, or None
            if it has none.
        objects (list[VocObject]): What is on it.
    """
    path: str
    file_name: str
    size: Optional[tuple[int, int]]
    objects: list[VocObject]

    def settle_size(self, size: Union[PhotoSize, str],
                    notes: Notes) -> PhotoSize:
        """The photo's own size where it can be read, else the stated one.

        Boxes are turned where they were drawn on pixels that mmcv will turn.

        Args:
            size (PhotoSize | str): The photo's, or why it is unreadable.
            notes (Notes): Gets what was repaired.

        Raises:
            ValueError: If there is neither.
        """
        if isinstance(size, str):
            if self.size is None:
                raise ValueError(
                    f'{self.path} has no image size, and its photo '
                    f'{self.file_name} cannot be asked: {size}. Add <size> '
                    'with <width> and <height>, or the photo.')
            kind = ('photos that are not on disk' if size == 'no such file'
                    else 'unreadable photos')
            notes.add(f'{kind}, taken with the size of <size>', self.file_name)
            return PhotoSize(*self.size)
        if self.size is None:
            notes.add('files without <size>, the size is the photo\'s',
                      osp.basename(self.path))
        # The tool saw the size that it states, so it drew on those pixels.
        elif self.size == size.stored != (size.width, size.height):
            self.objects = [replace(o, corners=turn_corners(o.corners, size))
                            for o in self.objects]
            notes.add('photos whose boxes were drawn before the rotation that '
                      'EXIF asks for, boxes turned as well', self.file_name)
        elif self.size != (size.width, size.height):
            notes.add('files whose <size> is not the photo\'s, which decides; '
                      'were photos resized after labelling?',
                      osp.basename(self.path))
        return size


@dataclass
class VocSet:
    """Images of a folder, with classes as names.

    Args:
        folder (str): The folder.
        split (str): The name of the list, or '' for all xml files.
        img_prefix (str): The folder that file names are relative to.
        images (list[VocImage]): Each with the final ``file_name``.
        sizes (list[PhotoSize]): Theirs.
        notes (Notes): What was repaired or left out so far.
    """
    folder: str
    split: str
    img_prefix: str
    images: list[VocImage]
    sizes: list[PhotoSize]
    notes: Notes = field(default_factory=Notes)


def read_voc_xml(path: str, notes: Optional[Notes] = None) -> VocImage:
    """Read one xml file.

    Args:
        path (str): The file.
        notes (Notes, optional): Gets what was repaired.

    Raises:
        ValueError: If it is missing, not xml, not VOC's, or an object has no
            class or no box; the message names file and element.
    """
    notes = Notes() if notes is None else notes
    try:
        root = parse_xml(path, 'Unpack the data set again, or save the file '
                         'as UTF-8.')
    except OSError as e:
        raise ValueError(f'{path}: {e.strerror}. Unpack the data set again, '
                         'or correct the list that names it.') from e
    if root.tag != 'annotation':
        raise ValueError(f'{path} is no annotation of VOC: its first element '
                         f'is <{root.tag}>, not <annotation>. Move it '
                         'elsewhere.')
    try:
        size = tuple(int(float(root.findtext(f'size/{side}')))
                     for side in ('width', 'height'))
    except (TypeError, ValueError, OverflowError):
        size = None
    # Tools that cannot read a photo write 0.
    if size and not all(0 < s < 2**31 for s in size):
        size = None
    objects = [VocObject.read(element, number, path, notes)
               for number, element in enumerate(root.iter('object'), 1)]
    name = (root.findtext('filename') or '').strip()
    return VocImage(path, name.replace('\\', '/'), size, objects)


def is_difficult(text: Optional[str]) -> Optional[bool]:
    """What ``<difficult>`` says; None if it is neither yes nor no.

    Examples:
        >>> is_difficult('1'), is_difficult('Unspecified'), is_difficult('?')
        (True, False, None)
    """
    text = (text or '').strip().lower()
    if text in _YES + _NO:
        return text in _YES
    try:
        return float(text) != 0
    except ValueError:
        return None


def read_voc(folder: str, split: str = '') -> VocSet:
    """Read a folder of VOC's form, see :class:`VocFolder`.

    The photo of an xml file is the one on disk with the same name, or else
    the one that its ``<filename>`` names. Its size decides, not ``<size>``;
    where the photo is not on disk ``<size>`` is needed.

    Args:
        folder (str): The folder.
        split (str): The name of a list, e.g. 'train'; '' for all xml files.

    Raises:
        ValueError: If files are missing or wrong; the message names them.
        OSError: If a folder cannot be listed.
    """
    files, notes = VocFolder(folder), Notes()
    images: list[VocImage] = []
    owners: dict[str, str] = {}
    for name in tqdm(files.xml_files(split, notes),
                     desc=split or osp.basename(folder), unit='img'):
        image = read_voc_xml(osp.join(files.annotations, name), notes)
        image.file_name = files.photo_of(name, image.file_name)
        other = owners.setdefault(image.file_name, image.path)
        if other != image.path:
            raise ValueError(
                f'{image.path} and {other} are of one photo, '
                f'{image.file_name}. Remove one of them, or give the other '
                'its own photo.')
        images.append(image)
    if not split:
        for photo in files.photos:
            if photo not in owners:
                notes.add('photos without an xml file, left out', photo)
    # All at once: opening files one by one takes long on network drives.
    paths = [osp.join(files.img_prefix, i.file_name) for i in images]
    sizes = [image.settle_size(size, notes)
             for image, size in zip(images, photo_sizes(paths))]
    return VocSet(folder, split, files.img_prefix, images, sizes, notes)


def turn_corners(corners: Sequence[int], size: PhotoSize) -> tuple:
    """Corners on the stored pixels as corners on the photo that is shown.

    Args:
        corners (Sequence[int]): Left, top, right, bottom, pixels counted
            from 1 and both ends included, as VOC does.
        size (PhotoSize): Has an orientation of 5 to 8.
    """
    left, top, right, bottom = corners
    # Rows become columns; then 6 and 7 are mirrored left to right, 7 and 8
    # top to bottom.
    left, top, right, bottom = top, left, bottom, right
    if size.orientation in (6, 7):
        left, right = size.width + 1 - right, size.width + 1 - left
    if size.orientation in (7, 8):
        top, bottom = size.height + 1 - bottom, size.height + 1 - top
    return left, top, right, bottom


def choose_classes(sets: Sequence[VocSet],
                   given: Union[str, Sequence[str]] = ()) -> list[str]:
    """The classes of all files that are made together.

    Args:
        sets (Sequence[VocSet]): What was read.
        given (str | Sequence[str]): As for
            :func:`~mmal.pool.formats.classes.read_classes`; 'voc' stands for
            VOC's 20, 'own' for those of the files. By default VOC's 20 if
            the files have no other, else those of the files, sorted.

    Raises:
        ValueError: If a file has a class that is not among them, or two
            spellings of one.
    """
    given = [given] if isinstance(given, str) else list(given)
    used: dict[str, str] = {}
    for images in (s.images for s in sets):
        for image in images:
            for o in image.objects:
                used.setdefault(o.name, image.path)
    if given and given not in (['voc'], ['own']):
        classes = read_classes(given[0] if len(given) == 1 else given)
        check_known(used, classes, 'the classes given')
        return classes
    # One's own data often lies in a folder called VOC2007 for the sake of
    # some program; a strange class amid VOC's own is rather a mistake there.
    named_voc = any(re.fullmatch(r'VOC\d{4}', osp.basename(s.folder))
                    for s in sets)
    if not given and (set(used) <= set(VOC_CLASSES) and (used or named_voc)
                      or named_voc and set(used) & set(VOC_CLASSES)):
        given = ['voc']
        if not named_voc:
            sets[0].notes.add("all classes are VOC's, so VOC's 20 are taken "
                              '(--classes own takes only those of the files)')
    if given == ['voc']:
        check_known(used, VOC_CLASSES, 'the 20 classes of VOC')
        return list(VOC_CLASSES)
    if not used:
        raise ValueError(f'no xml file of {sets[0].folder} has an object: '
                         'name the classes with --classes.')
    check_spelling(used)
    for name, where in used.items():
        near = nearest_name(name, VOC_CLASSES)
        if near and near.casefold() == name.casefold() and near != name:
            sets[0].notes.add(f'class {name!r} is written {near!r} in VOC, '
                              'taken as a class of its own',
                              osp.basename(where))
    return sorted(used)


def voc_to_coco(images: VocSet, classes: Sequence[str],
                difficult: str = 'ignore', first_pixel: int = 1) -> Conversion:
    """A set as a COCO dict.

    Args:
        images (VocSet): From :func:`read_voc`.
        classes (Sequence[str]): From :func:`choose_classes`.
        difficult (str): 'ignore' marks difficult objects as crowd: training
            and evaluation ignore them. 'keep' leaves them like all others.
        first_pixel (int): 1 as in VOC, or 0 for tools that count from 0.

    Returns:
        Conversion: Image ids count from 1 in the order of the set.

    Raises:
        ValueError: If no box covers a pixel of its image.
    """
    notes = images.notes
    builder = CocoBuilder(images.folder, notes)
    numbers = {name: i for i, name in enumerate(classes, 1)}
    for image, size in zip(images.images, images.sizes):
        name = osp.basename(image.path)
        entry = builder.add_image(image.file_name, size.width, size.height)
        if not image.objects:
            notes.add('images without objects, kept as such',
                      image.file_name)
        for o in image.objects:
            if first_pixel and min(o.corners) == 0:
                notes.add('boxes that begin at pixel 0 though VOC counts '
                          'from 1; if your tool counts from 0, give '
                          '--zero-based', name)
            is_ignored = o.difficult and difficult == 'ignore'
            if is_ignored:
                notes.add('difficult objects, ignored as crowd (--difficult '
                          'keep makes them count)', name)
            builder.add_box(entry, numbers[o.name],
                            [c - first_pixel for c in o.corners], name,
                            int(is_ignored))
    return Conversion(builder.finish(categories_of(classes)),
                      images.img_prefix, notes)


def merge_voc(sets: Sequence[VocSet],
              conversions: Sequence[Conversion]) -> Conversion:
    """Several sets as one.

    Args:
        sets (Sequence[VocSet]): Their folders lie beside each other.
        conversions (Sequence[Conversion]): Of each, with equal classes.

    Returns:
        Conversion: File names are relative to the folder that has all of
        them. Ids count on from one set to the next.

    Raises:
        ValueError: If an image is in two of them.
    """
    images, annotations, seen, notes = [], [], set(), Notes()
    parent = osp.dirname(osp.abspath(sets[0].folder))
    for one_set, conversion in zip(sets, conversions):
        prefix = osp.relpath(osp.abspath(one_set.img_prefix), parent)
        prefix = prefix.replace('\\', '/')
        shift, boxes = len(images), len(annotations)
        for image in conversion.coco['images']:
            name = f'{prefix}/{image["file_name"]}'
            if name in seen:
                raise ValueError(
                    f'{name} is in two of the image sets to be merged. Give '
                    'each folder once, and image sets that share no image.')
            seen.add(name)
            images.append({**image, 'id': image['id'] + shift,
                           'file_name': name})
        annotations += [{**a, 'id': a['id'] + boxes,
                         'image_id': a['image_id'] + shift}
                        for a in conversion.coco['annotations']]
        notes.merge(conversion.notes)
    coco = {**conversions[0].coco, 'images': images,
            'annotations': annotations}
    return Conversion(coco, parent, notes)
