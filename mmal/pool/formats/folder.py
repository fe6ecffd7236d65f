"""A folder of photos without labels as a pool."""
from __future__ import annotations

import os.path as osp
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Union

from mmal.fileio import read_json
from mmal.pool.coco import CocoData, load_coco
from mmal.types import ImageId
from .classes import read_classes
from .conversion import Conversion, Notes, categories_of
from .photos import (
    PhotoSize,
    is_photo,
    list_files,
    photo_sizes,
    refuse_unreadable,
)


def folder_to_coco(folder: str,
                   classes: Union[str, Sequence[str]],
                   earlier: str = '',
                   skip_unreadable: bool = False,
                   exclude: Sequence[str] = ()) -> Conversion:
    """All photos of a folder, and those below it, as a COCO dict.

    An image keeps its id when the folder grows: ids of ``earlier``, and of
    the COCO file that names the classes, stay with their file names; other
    photos get the next numbers in the order of their names.

    Args:
        folder (str): The folder; file names are relative to it.
        classes (str | Sequence[str]): As for
            :func:`~mmal.pool.formats.classes.read_classes`. Where it is the
            COCO json of the images that are labelled already, its categories
            and the ids of its images are taken, so that it can be the first
            labelled set of this pool.
        earlier (str): The COCO json that this function made of the folder
            before; it need not exist.
        skip_unreadable (bool): Leave photos that cannot be read out.
        exclude (Sequence[str]): Extensions that are left out, with or
            without a dot, e.g. 'png'.

    Returns:
        Conversion: Its annotations are empty.

    Raises:
        ValueError: If there are no photos, some are unreadable, ``earlier``
            has annotations, or two files give one image different ids.
        OSError: If the folder cannot be listed.
    """
    notes, numbered = Notes(), {}
    if osp.isfile(earlier):
        numbered[earlier] = load_coco(earlier, need_annotations=False)
        if numbered[earlier].annotations:
            raise ValueError(f'{earlier} exists and has annotations, which '
                             'would be lost. Give another name.')
    categories = categories_of(read_classes(classes))
    # The labelled images may be of this folder, and then belong to the pool.
    if isinstance(classes, str) and classes.lower().endswith('.json'):
        content = read_json(classes)
        if isinstance(content, dict) and content.get('images'):
            numbered[classes] = load_coco(classes, need_annotations=False)
            categories = numbered[classes].categories

    names = list_photos(folder, exclude, notes)
    paths = [osp.join(folder, n) for n in names]
    sizes = photo_sizes(paths)
    refuse_unreadable(
        [(path, size) for path, size in zip(paths, sizes)
         if isinstance(size, str)], len(paths), skip_unreadable)

    ids, last = kept_ids(numbered, names, notes)
    images = []
    for name, size in zip(names, sizes):
        if not isinstance(size, PhotoSize):
            notes.add('unreadable photos, left out', f'{name}: {size}')
            continue
        if name not in ids:
            last += 1
            ids[name] = last
        images.append(dict(id=ids[name], file_name=name, width=size.width,
                           height=size.height))
    return Conversion(
        dict(info=dict(last_id=last), images=images, annotations=[],
             categories=categories),
        folder, notes)


def list_photos(folder: str, exclude: Sequence[str],
                notes: Notes) -> list[str]:
    """Names of the photos of a folder; other files are counted.

    Args:
        folder (str): The folder.
        exclude (Sequence[str]): Extensions that are left out.
        notes (Notes): Gets the counts.

    Raises:
        ValueError: If there are none.
        OSError: If the folder cannot be listed.
    """
    ends = tuple(f'.{e.lower().lstrip(".")}' for e in exclude)
    names = []
    others: Counter[str] = Counter()
    for name in list_files(folder):
        if not is_photo(name):
            others[osp.splitext(name)[1].lower() or 'no extension'] += 1
        elif ends and name.lower().endswith(ends):
            notes.add('photos with an excluded extension, left out', name)
        else:
            names.append(name)
    other_files = ', '.join(f'{n} {e}' for e, n in others.most_common(8))
    if not names:
        raise ValueError(
            f'{folder} has no photos (it has {other_files or "no files"}). '
            'Photos end in .jpg, .png, .tif, .bmp, .webp and the like; '
            'convert others first.')
    if others:
        notes.add(f'files of other kinds ({other_files}), left out',
                  count=sum(others.values()))
    return names


def kept_ids(numbered: Mapping[str, CocoData], names: Sequence[str],
             notes: Notes) -> tuple[dict[str, ImageId], int]:
    """Ids that images have already, and the last number ever given.

    A run knows images by their ids: a number that is given again, after its
    photo was removed, would pass off another photo as labelled.

    Args:
        numbered (Mapping[str, CocoData]): Path -> a file that has ids.
        names (Sequence[str]): The photos that there are now.
        notes (Notes): Gets the images that are gone.

    Returns:
        tuple[dict[str, int | str], int]: File name -> id; the last number.

    Raises:
        ValueError: If an image has two ids.
    """
    ids: dict[str, ImageId] = {}
    last, present = 0, set(names)
    for path, coco in numbered.items():
        info = coco.header.get('info')
        given = info.get('last_id') if isinstance(info, dict) else 0
        last = max(i for i in (last, given, *coco.ids)
                   if isinstance(i, int))
        for image in coco.images.values():
            name = image['file_name']
            if ids.setdefault(name, image['id']) != image['id']:
                raise ValueError(
                    f'{name} has two ids, {ids[name]!r} and '
                    f'{image["id"]!r}, in {" and ".join(numbered)}. Correct '
                    'them, or write the pool to another file.')
            if name not in present:
                notes.add(f'images of {osp.basename(path)} that are not in '
                          'the folder', name)
    return ids, last
