"""Exports of the VGG Image Annotator: json of annotations or of a project,
and csv. Coordinates are pixels, and no file says how large a photo is."""
from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

from .classes import read_text
from .conversion import Notes
from .exchange import (
    LabelBox,
    LabelExport,
    LabelImage,
    box_around,
    ellipse_box,
    numbers,
)

_COLUMNS = ('filename', 'region_shape_attributes', 'region_attributes')


def is_via(content: Any) -> bool:
    """Whether the content of a json file is of VIA."""
    if not isinstance(content, Mapping):
        return False
    if '_via_img_metadata' in content:
        return isinstance(content['_via_img_metadata'], Mapping)
    return bool(content) and all(
        isinstance(e, Mapping) and 'filename' in e and 'regions' in e
        for e in content.values())


def read_via_json(content: Mapping, path: str, classes: Sequence[str],
                  attribute: Optional[str] = None) -> LabelExport:
    """What people have drawn, from a json file.

    Args:
        content (Mapping): The content of the file, see :func:`is_via`.
        path (str): The file, for messages.
        classes (sequence[str]): Names to look for.
        attribute (str, optional): The attribute of a region that holds its
            class. Default: the one whose values are classes, or the only one.

    Raises:
        ValueError: If a shape is wrong, or nothing says which attribute holds
            the class.
    """
    photos = []
    for key, entry in content.get('_via_img_metadata', content).items():
        regions = entry.get('regions') or []
        if isinstance(regions, Mapping):  # of version 1
            regions = list(regions.values())
        photos.append((str(entry.get('filename') or key), [
            (r.get('shape_attributes') or {}, r.get('region_attributes') or {})
            for r in regions]))
    settings = content.get('_via_attributes')
    declared = settings.get('region') if isinstance(settings, Mapping) else {}
    return _read(photos, path, classes, attribute, declared or {})


def read_via_csv(path: str, classes: Sequence[str],
                 attribute: Optional[str] = None) -> LabelExport:
    """:func:`read_via_json` for a csv file."""
    rows = csv.DictReader(io.StringIO(read_text(path), newline=''))
    # a region with many points is longer than what csv takes by default
    limit = csv.field_size_limit(2**31 - 1)
    try:
        # the first column is '#filename' in early versions
        rows.fieldnames = [
            name.strip().lstrip('#') for name in rows.fieldnames or ()]
        content = list(rows)
    except csv.Error as e:
        raise ValueError(f'{path}, line {rows.line_num}: it is no csv ({e}). '
                         'Export the csv again.') from e
    finally:
        csv.field_size_limit(limit)
    if not set(_COLUMNS) <= set(rows.fieldnames):
        raise ValueError(f'{path} is no csv file of VIA: it needs the columns '
                         f'{", ".join(_COLUMNS)}.')
    photos: dict[str, list] = {}
    for line, row in enumerate(content, 2):
        regions = photos.setdefault(row['filename'] or '', [])
        try:
            shape, values = (json.loads(row[name] or '{}')
                             for name in _COLUMNS[1:])
        except ValueError as e:
            raise ValueError(f'{path}, line {line}: a region is no json '
                             f'({e}). Export the csv again.') from e
        if shape:  # a photo without regions has a row of its own
            regions.append((shape, values))
    return _read(list(photos.items()), path, classes, attribute, {})


def _read(photos: Sequence[tuple[str, list]], path: str,
          classes: Sequence[str], attribute: Optional[str],
          declared: Mapping) -> LabelExport:
    notes, images = Notes(), []
    values = [v for _, regions in photos for _, v in regions]
    if attribute is None and values:
        attribute = _class_attribute(values, path, classes)
    # a drop-down list keeps the number of an option where it has one
    options = (declared.get(attribute) or {}).get('options') or {}
    for name, regions in photos:
        where = f'{path}, photo {name!r}'
        image = LabelImage(name)
        for shape, given in regions:
            bbox = _bbox(shape, where, notes)
            if bbox is None:
                continue
            for value in _names(given.get(attribute)):
                # options map to whether they are the default, or to a text
                text = options.get(value)
                label = text if value not in classes and isinstance(
                    text, str) and text else value
                image.boxes.append(LabelBox(label, bbox))
            if not _names(given.get(attribute)):
                image.problem = f'a region on it has no {attribute!r}'
        images.append(image)
    drawn = dict.fromkeys(b.label for i in images for b in i.boxes)
    return LabelExport('via', images, list(drawn), notes)


def _names(value: Any) -> list[str]:
    """The options that are chosen: one, or those of a check box."""
    if isinstance(value, Mapping):
        return [str(k) for k, chosen in value.items() if chosen]
    text = '' if value is None else str(value).strip()
    return [text] if text else []


def _class_attribute(values: Iterable[Mapping], path: str,
                     classes: Sequence[str]) -> str:
    """The attribute of regions that holds their class."""
    named: dict[str, set] = {}
    for given in values:
        for key, value in given.items():
            named.setdefault(key, set()).update(_names(value))
    fitting = [k for k, names in named.items() if names & set(classes)]
    candidates = fitting or list(named)
    if len(candidates) == 1:
        return candidates[0]
    raise ValueError(
        f'{path}: which attribute of a region holds its class? There are '
        f'{", ".join(map(repr, named)) or "none"}. Name it with '
        '--class-attribute.')


def _bbox(shape: Mapping, where: str, notes: Notes) -> Optional[tuple]:
    kind = shape.get('name')
    if kind == 'rect':
        keys = ('x', 'y', 'width', 'height')
        return tuple(numbers(map(shape.get, keys), where))
    if kind == 'polygon':
        notes.add('polygons, their boxes taken', where)
        xs, ys = (numbers(shape.get(f'all_points_{axis}') or (), where)
                  for axis in 'xy')
        if not xs or len(xs) != len(ys):
            raise ValueError(f'{where} has a polygon without points.')
        return box_around(zip(xs, ys))
    if kind in ('circle', 'ellipse'):
        notes.add('circles and ellipses, their boxes taken', where)
        radii = ('r', 'r') if kind == 'circle' else ('rx', 'ry')
        theta = numbers([shape.get('theta') or 0], where)[0]  # in radians
        return ellipse_box(
            *numbers(map(shape.get, ('cx', 'cy', *radii)), where),
            math.degrees(theta))
    notes.add('points and lines, left out', where)
    return None
