"""The COCO files of an A/B test."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Optional

from mmal.fileio import read_json
from mmal.pool import CocoData, load_coco
from mmal.pool.coco import parse_coco, some
from mmal.pool.oracle import translate


def load_selection(path: str, pool: Optional[CocoData] = None) -> CocoData:
    """A selection and its annotations.

    Args:
        path (str): A COCO json, or the ``selected.json`` of a query;
            reselected images are left out.
        pool (CocoData, optional): For the latter: images and annotations.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is neither, or the pool is missing or lacks one of
            the images.
    """
    content = read_json(path)
    if not isinstance(content, dict) or 'ids' not in content:
        return load_coco(path)
    if pool is None:
        raise ValueError(f'{path} names images by their ids alone: give the '
                         'COCO json that has them and their annotations with '
                         '--pool.')
    # both selections are to add new images to the reference's
    reselected = set(content.get('reselected') or ())
    ids = [i for i in content['ids'] if i not in reselected]
    selected = pool.subset(ids, pool.annotations_of(ids))
    return parse_coco(selected, f'{path} (of {pool.path})')


def by_name(coco: CocoData) -> dict:
    """Image ids by file name.

    Raises:
        ValueError: If a name comes twice.
    """
    ids = {image['file_name']: i for i, image in coco.images.items()}
    if len(ids) < len(coco.images):
        raise ValueError(f'{coco.path} lists a file_name more than once: '
                         'images are known by their names here.')
    return ids


def check_disjoint(reference: CocoData, selection: CocoData) -> None:
    """Raise a ValueError if a selected image is one of the reference's."""
    common = by_name(reference).keys() & by_name(selection).keys()
    if common:
        raise ValueError(
            f'{selection.path} has images of {reference.path}: '
            f'{some(sorted(common))}. A selection adds new images; the '
            'reference model must not have seen those it is tested on.')


def joined(parts: Sequence[tuple[CocoData, Iterable[str]]]) -> dict:
    """Some images of several files as one COCO file.

    Args:
        parts (sequence[tuple[CocoData, iterable[str]]]): Files and the names
            of the images to take. An image of several files is taken from
            the first of them.

    Returns:
        dict: Images and annotations are numbered anew, from 1, in the order
        of the files; categories are those of the first, matched by name.

    Raises:
        ValueError: If an annotation uses a category that the first file
            lacks.
    """
    first = parts[0][0]
    images, annotations, seen = [], [], set()
    for coco, names in parts:
        wanted = set(names) - seen
        seen |= wanted
        match = {}
        for i, image in coco.images.items():
            if image['file_name'] in wanted:
                match[i] = len(images) + 1
                images.append(dict(image, id=match[i]))
        annotations += translate(coco, first, match)
    numbered = [dict(a, id=n) for n, a in enumerate(annotations, 1)]
    content = dict(
        images=images, annotations=numbered, categories=first.categories)
    # through the same checks and completions as any COCO file
    whole = parse_coco(content, 'a joined file')
    return whole.subset(whole.ids, numbered)
