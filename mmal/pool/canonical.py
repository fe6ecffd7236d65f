"""One form of all COCO files: what mmdet and pycocotools read without a
surprise.

Labelling tools leave out what COCO files need, or write it their own way. A
file is brought into this form once, when it is loaded; what cannot be repaired
is left as it is and refused by the checks that follow (:mod:`mmal.pool.coco`).

Everything goes column by column over all entries, and rows are touched only
where something is to be done, so that a clean file costs little.
"""
from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Callable, Optional

from mmal.types import ImageId

# A width and height in pixels, or what is wrong with the file.
ReadSize = Callable[[str], 'tuple[int, int] | str']
# The name of a file on the disk, for one that a COCO file gives it.
FindFile = Callable[[str], Optional[str]]


class Repairs:
    """What was repaired in a file: a line of text for each kind."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, number: int, what: str) -> None:
        """Note a repair of so many entries; none of 0."""
        if number:
            self.lines.append(f'{what} ({number:,})')


def make_canonical(raw: Mapping,
                   read_size: Optional[ReadSize] = None,
                   crowd: str = 'ignore',
                   find_file: Optional[FindFile] = None
                   ) -> tuple[dict, list[str]]:
    """The parsed content of a COCO file in the form that mmdet reads.

    Filled in or rewritten are: ids that are whole floats or digits as text;
    missing or repeated annotation ids; repeated categories; missing sizes of
    images; ``bbox`` from ``segmentation``; numbers as text; ``area``,
    ``iscrowd`` and ``ignore``.

    Args:
        raw (Mapping): The content: lists of dicts under ``images``,
            ``categories`` and ``annotations``; they are changed in place.
        read_size (callable, optional): Takes a ``file_name``, returns width
            and height of the image as mmcv loads it, or what is wrong.
        crowd (str): 'ignore' leaves crowd regions, which no detector trains
            on as boxes; 'boxes' makes them boxes like all others.

    Returns:
        tuple[dict, list[str]]: The content, and a line for each kind of
        repair. What is beyond repair is in it as it was.
    """
    repairs = Repairs()
    out = dict(raw)
    images, annotations = out['images'], out['annotations']
    _whole_ids(images, 'id', 'image id', repairs)
    image_ids = _hashable(images, 'id')
    _whole_ids(annotations, 'image_id', 'image_id', repairs, image_ids)
    out['categories'] = _join_categories(
        out['categories'], annotations, repairs)
    if find_file is not None:
        _spell_names(images, find_file, repairs)
    _fill_sizes(images, read_size, repairs)
    _number_annotations(annotations, repairs)
    _fill_boxes(annotations, repairs)
    _fill_flags(annotations, crowd, repairs)
    return out, repairs.lines


def whole(value: Any) -> Any:
    """An id as a whole number where it is one written otherwise.

    Args:
        value: 7.0 and '7' become 7; '007', which would become another text,
            and everything else stay as they are.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        text = value.strip()
        digits = text[1:] if text[:1] == '-' else text
        if digits.isascii() and digits.isdigit() and str(int(text)) == text:
            return int(text)
    return value


def _column(rows: Sequence[dict], key: str) -> list:
    try:
        return list(map(itemgetter(key), rows))  # twice as fast
    except KeyError:
        return [row.get(key) for row in rows]


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, str, float))


def _hashable(rows: Sequence[dict], key: str) -> set:
    return set(filter(_is_id, _column(rows, key)))


def _whole_ids(rows: Sequence[dict], key: str, what: str, repairs: Repairs,
               known: Optional[set] = None) -> None:
    """Rewrite ids; where ``known`` ones are given they must become one."""
    column = _column(rows, key)
    if set(map(type, column)) <= {int}:
        return
    changed = 0
    for row, value in zip(rows, column):
        if type(value) is int:
            continue
        if isinstance(value, str) and known is not None and value in known:
            continue  # the file's own ids are text
        number = whole(value)
        if number is not value and (known is None or number in known):
            row[key] = number
            changed += 1
    repairs.add(changed, f'{what} made a whole number')


def _join_categories(categories: list[dict], annotations: Sequence[dict],
                     repairs: Repairs) -> list[dict]:
    """One row for each class; annotations follow."""
    _whole_ids(categories, 'id', 'category id', repairs)
    ids = _hashable(categories, 'id')
    _whole_ids(annotations, 'category_id', 'category_id', repairs, ids)
    names = _column(categories, 'name')
    if len(set(map(str, names))) == len(names) and len(ids) == len(names):
        return categories
    used = Counter(
        v for v in _column(annotations, 'category_id') if _is_id(v))
    first: dict[Any, dict] = {}
    renamed: dict[ImageId, ImageId] = {}
    repeated = unused = joined = 0
    for row in categories:
        name = row.get('name')
        if not isinstance(name, str) or not _is_id(row.get('id')):
            first[id(row)] = row  # refused later
            continue
        kept = first.get(name)
        if kept is None:
            first[name] = row
        elif kept.get('id') == row.get('id'):
            repeated += 1
        elif not used[row.get('id')]:
            unused += 1
        elif not used[kept.get('id')]:
            # a root or super category that is named like the class; the
            # order of the rows is that of mmdet's labels
            del first[name]
            first[name] = row
            unused += 1
        else:
            renamed[row['id']] = kept['id']
            joined += 1
    if renamed:
        for row in annotations:
            if _is_id(row.get('category_id')) and \
                    row['category_id'] in renamed:
                row['category_id'] = renamed[row['category_id']]
    repairs.add(repeated, 'category rows that repeat left out')
    repairs.add(unused, 'categories left out that no annotation uses and that '
                'are named like another')
    repairs.add(joined, 'categories of one name joined')
    return list(first.values())


def _spell_names(images: Sequence[dict], find_file: FindFile,
                 repairs: Repairs) -> None:
    """File names as they are on the disk."""
    changed = 0
    for row, name in zip(images, _column(images, 'file_name')):
        # all others are spelled alike everywhere
        if isinstance(name, str) and ('\\' in name or not name.isascii()):
            spelled = find_file(name)
            if spelled is not None and spelled != name:
                row['file_name'] = spelled
                changed += 1
    repairs.add(changed, '"file_name" spelled as on the disk')


def _fill_sizes(images: Sequence[dict], read_size: Optional[ReadSize],
                repairs: Repairs) -> None:
    """Widths and heights as whole numbers; missing ones from the files."""
    columns = [_column(images, key) for key in ('width', 'height')]
    if all(set(map(type, c)) <= {int} and min(c, default=1) > 0
           for c in columns):
        return
    rewritten = read = 0
    for row, *size in zip(images, *columns):
        numbers = [_positive_whole(value) for value in size]
        if None not in numbers:
            if any(type(value) is not int for value in size):
                row['width'], row['height'] = numbers
                rewritten += 1
        elif read_size is not None and isinstance(row.get('file_name'), str):
            actual = read_size(row['file_name'])
            if not isinstance(actual, str):
                row['width'], row['height'] = actual
                read += 1
    repairs.add(rewritten, 'width or height made a whole number')
    repairs.add(read, 'width and height read from the image')


def _positive_whole(value: Any) -> Optional[int]:
    number = whole(value)
    if type(number) is int and number > 0:
        return number
    return None


def _number_annotations(annotations: Sequence[dict],
                        repairs: Repairs) -> None:
    """Give annotations without an id, or with one that is taken, others."""
    _whole_ids(annotations, 'id', 'annotation id', repairs)
    column = _column(annotations, 'id')
    if set(map(type, column)) <= {int, str} and \
            len(set(column)) == len(column):
        return
    top = max((v for v in column if type(v) is int), default=0)
    seen = set()
    missing = taken = 0
    for row, value in zip(annotations, column):
        if value is None:
            missing += 1
        elif type(value) not in (int, str):
            continue  # refused later
        elif value in seen:
            taken += 1
        else:
            seen.add(value)
            continue
        top += 1
        row['id'] = top
    repairs.add(missing, 'annotations without an id numbered')
    repairs.add(taken, 'annotations whose id another one has numbered anew')


def _fill_boxes(annotations: Sequence[dict], repairs: Repairs) -> None:
    """Boxes from segmentations, and numbers instead of text."""
    boxes = _column(annotations, 'bbox')
    if set(map(type, boxes)) <= {list} and set(map(len, boxes)) <= {4} and \
            set(map(type, chain.from_iterable(boxes))) <= {int, float}:
        return
    from_masks = from_text = 0
    for row, box in zip(annotations, boxes):
        if box is None or box == []:
            around = box_of(row.get('segmentation'))
            if around is not None:
                row['bbox'] = around
                from_masks += 1
        elif isinstance(box, (list, tuple)) and any(
                isinstance(v, str) for v in box):
            try:
                row['bbox'] = [float(v) for v in box]
                from_text += 1
            except (TypeError, ValueError):
                pass  # refused later
    repairs.add(from_masks, '"bbox" computed from the segmentation')
    repairs.add(from_text, 'numbers of a "bbox" that were text')


def box_of(segmentation: Any) -> Optional[list[float]]:
    """The box around a segmentation.

    Args:
        segmentation: Polygons ``[[x, y, x, y, …], …]``, one polygon ``[x, y,
            …]``, or a run-length encoding, compressed or not.

    Returns:
        list[float] | None: ``[x, y, width, height]`` in pixels; None if there
        is nothing to be read.
    """
    if isinstance(segmentation, Mapping):
        from pycocotools import mask
        try:
            rle = dict(segmentation)
            if isinstance(rle['counts'], list):
                rle = mask.frPyObjects(rle, *rle['size'])
            box = [float(v) for v in mask.toBbox(rle)]
        except Exception:  # C code: whatever is wrong with it
            return None
        return box if box[2] > 0 and box[3] > 0 else None
    if not isinstance(segmentation, list) or not segmentation:
        return None
    polygons = segmentation if isinstance(segmentation[0], list) else [
        segmentation]
    try:
        numbers = [float(v) for polygon in polygons for v in polygon]
    except (TypeError, ValueError):
        return None
    if len(numbers) < 2 or any(len(p) % 2 for p in polygons) or \
            not all(map(math.isfinite, numbers)):
        return None
    xs, ys = numbers[::2], numbers[1::2]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _fill_flags(annotations: Sequence[dict], crowd: str,
                repairs: Repairs) -> None:
    """``area``, ``iscrowd`` and ``ignore`` as mmdet and pycocotools need."""
    areas = _column(annotations, 'area')
    if not set(map(type, areas)) <= {int, float} or \
            min(areas, default=1) <= 0:
        filled = 0
        for row, area in zip(annotations, areas):
            if type(area) in (int, float) and area > 0:
                continue
            box = row.get('bbox')
            try:
                row['area'] = box[2] * box[3]
                filled += 1
            except (TypeError, IndexError, KeyError):
                pass  # the box is refused later
        repairs.add(filled, '"area" set to that of the box')
    for key in ('iscrowd', 'ignore'):
        column = _column(annotations, key)
        if set(map(type, column)) <= {int}:
            continue
        if key == 'ignore' and not any(key in row for row in annotations):
            continue  # the rule
        filled = 0
        for row, value in zip(annotations, column):
            if type(value) is int or (key == 'ignore' and key not in row):
                continue
            row[key] = int(_is_true(value))
            filled += 1
        repairs.add(filled, f'"{key}" filled in')
    if crowd == 'boxes':
        regions = [row for row in annotations if row.get('iscrowd')]
        for row in regions:
            row['iscrowd'] = 0
        repairs.add(len(regions), 'crowd regions taken as boxes')


def _is_true(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() not in ('', '0', 'false', 'no', 'none')
    return bool(value)
