"""COCO files: read with every check, cut into splits, written atomically.

A file in canonical form becomes columns (:mod:`mmal.pool.columns`). Others are
repaired and checked column by column over all entries.
"""
from __future__ import annotations

import codecs
import contextlib
import difflib
import gc
import gzip
import json
import os
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, compress
from operator import itemgetter
from typing import Any, Optional

import numpy as np

from mmal.fileio import write_json
from mmal.types import ImageId
from .canonical import FindFile, ReadSize, make_canonical
from .column_reader import NotCanonical, read_columns
from .columns import AnnotationColumns, AnnotationTable, ImageColumns

try:
    import orjson  # parses twice as fast
except ImportError:
    orjson = None

_MISSING = object()  # None is a value that JSON can hold
_ID_TYPES = frozenset({int, str})  # exact types: a bool is an int too
_NUMBERS = frozenset({int, float})
_LARGEST = sys.float_info.max  # python's ints may be larger


@dataclass
class CocoData:
    """A checked COCO file, indexed by image.

    Args:
        path (str): Where it came from, for messages.
        images (Mapping[int | str, dict]): Image entries by id, in file
            order; :class:`~mmal.pool.columns.ImageColumns` of a file that
            needed no repair.
        annotations (Mapping[int | str, list[dict]]): Annotations by image
            id, in file order; images without any have no key.
        categories (list[dict]): Category entries in file order.
        header (dict): Every other top-level entry (info, licenses, …).
        repairs (list[str]): What was repaired when the file was loaded, a
            line for each kind.
    """
    path: str
    images: Mapping[ImageId, dict]
    annotations: Mapping[ImageId, list[dict]]
    categories: list[dict]
    header: dict[str, Any] = field(default_factory=dict)
    repairs: list[str] = field(default_factory=list)

    @property
    def ids(self) -> list[ImageId]:
        """Image ids in file order."""
        return list(self.images)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Category names in file order: the order of mmdet's labels."""
        return tuple(c['name'] for c in self.categories)

    @property
    def file_names(self) -> list[str]:
        """Those of all images, in file order."""
        if isinstance(self.images, ImageColumns):
            return list(self.images.names)
        return [image['file_name'] for image in self.images.values()]

    @property
    def sizes(self) -> np.ndarray:
        """float64 [N, 2], width and height of all images in file order."""
        if isinstance(self.images, ImageColumns):
            return self.images.sizes.astype(np.float64)
        return np.array([(image['width'], image['height'])
                         for image in self.images.values()],
                        np.float64).reshape(-1, 2)

    def sizes_of(self, ids: Iterable[ImageId]) -> np.ndarray:
        """float64 [M, 2], width and height of some images."""
        if isinstance(self.images, ImageColumns):
            return self.sizes[self.images.positions(ids)]
        return np.array([(self.images[i]['width'], self.images[i]['height'])
                         for i in ids], np.float64).reshape(-1, 2)

    @property
    def num_boxes(self) -> int:
        """Boxes on all images, see :func:`is_box`."""
        return int(self.table().is_box.sum())

    def table(self, annotations: Optional[Iterable[dict]] = None
              ) -> AnnotationTable:
        """Annotations as columns; what is marked there is marked here.

        Args:
            annotations (iterable[dict], optional): Some of its images.
                Default: its own, all of them.
        """
        if annotations is None:
            if self._has_columns:
                return self.annotations.table
            annotations = chain.from_iterable(self.annotations.values())
        return AnnotationTable.of(annotations, self.images, self.categories)

    @property
    def _has_columns(self) -> bool:
        # images may have been replaced by others
        return isinstance(self.annotations, AnnotationColumns) and \
            self.annotations.images is self.images

    def without_annotations(self) -> CocoData:
        """The same images for those who must not see what is on them."""
        return CocoData(self.path, self.images, {}, self.categories,
                        self.header, self.repairs)

    def annotations_of(self, ids: Iterable[ImageId]) -> list[dict]:
        """All annotations of the given images, image by image."""
        if self._has_columns:
            return self.annotations.of(i for i in ids if i in self.images)
        return list(
            chain.from_iterable(self.annotations.get(i, ()) for i in ids))

    def subset(self,
               ids: Iterable[ImageId],
               annotations: Iterable[Mapping] = ()) -> dict:
        """A valid COCO dict of some of the images.

        Args:
            ids (Iterable[int | str]): Images to keep; their order here does
                not matter, the file's order is kept.
            annotations (Iterable[dict]): Annotations of these images. All
                fields are kept; ``area`` (the box's) and ``iscrowd`` (0),
                which mmdet and pycocotools need, are added where missing.

        Returns:
            dict: info, licenses and the like, images, annotations,
            categories.

        Raises:
            ValueError: If an id is not in the file, or an annotation belongs
                to another image or repeats an annotation id.
        """
        keep = set(ids)
        unknown = [i for i in keep if i not in self.images]
        if unknown:
            raise ValueError(f'{self.path} has no images with the ids '
                             f'{some(unknown)}.')
        kept = []
        for annotation in map(dict, annotations):
            if 'area' not in annotation:
                _, _, width, height = annotation['bbox']
                annotation['area'] = width * height
            annotation.setdefault('iscrowd', 0)
            kept.append(annotation)
        foreign = [a['id'] for a in kept if a['image_id'] not in keep]
        if foreign:
            raise ValueError(
                f'annotations {some(foreign)} belong to images outside this '
                f'subset of {self.path}: pass only those of its images.')
        _check_unique([a['id'] for a in kept], f'a subset of {self.path}',
                      'annotation ids', 'Merge them with merge_annotations.')
        return dict(
            self.header,
            images=[self.images[i] for i in self.images if i in keep],
            annotations=kept,
            categories=self.categories)


def load_coco(path: str,
              need_annotations: bool = True,
              backend_args: Optional[dict] = None,
              read_size: Optional[ReadSize] = None,
              crowd: str = 'ignore',
              find_file: Optional[FindFile] = None) -> CocoData:
    """Read a COCO detection file, repair what can be and check the rest.

    UTF-8 and UTF-16 with or without a byte order mark and gzip are read. NaN
    and infinities, which JSON does not know, become null.

    Args:
        path (str): The json file.
        need_annotations (bool): If False, the file may lack the key
            ``annotations`` (a pool nobody has labelled yet).
        backend_args (dict, optional): mmengine's file backend, for files
            that are not on a local disk.
        read_size, crowd, find_file: See
            :func:`~mmal.pool.canonical.make_canonical`.

    Returns:
        CocoData: Its content in canonical form. Ids are ints or strings, all
        unique.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON, or breaks the format: missing keys,
            wrong types, no image at all, duplicate ids or category names,
            annotations of unknown images or categories, boxes that are not
            four finite numbers with width and height >= 0 (COCO itself has
            boxes of width 0; mmdet skips them).
    """
    path = os.fspath(path)
    with _paused_gc():
        if backend_args is None and '://' not in path:
            with contextlib.suppress(NotCanonical, OSError):
                return _load_columns(path, need_annotations, crowd, find_file)
        return parse_coco(
            read_content(path, backend_args), path, need_annotations,
            read_size, crowd, find_file)


def _load_columns(path: str, need_annotations: bool, crowd: str,
                  find_file: Optional[FindFile]) -> CocoData:
    """A file in canonical form, never as a whole in memory."""
    with open(path, 'rb') as f:
        images, annotations, categories, header = read_columns(
            f, need_annotations)
    if crowd == 'boxes' and annotations.table.crowd.any():
        raise NotCanonical
    if find_file is not None and not images.names.is_plain:
        for name in images.names:
            if ('\\' in name or not name.isascii()) and \
                    find_file(name) not in (None, name):
                raise NotCanonical
    return CocoData(path, images, annotations, categories, header)


def parse_coco(raw: Any,
               path: str,
               need_annotations: bool = True,
               read_size: Optional[ReadSize] = None,
               crowd: str = 'ignore',
               find_file: Optional[FindFile] = None) -> CocoData:
    """Repair and check the parsed content of a file; see
    :func:`load_coco`."""
    if not isinstance(raw, dict):
        raise _format_error(
            path, f'holds a {type(raw).__name__} at its top, not an object '
            'with "images", "annotations" and "categories"')
    if not need_annotations:
        raw = {'annotations': [], **raw}
    for key in ('images', 'categories', 'annotations'):
        _check_rows(raw, key, path)
    raw, repairs = make_canonical(raw, read_size, crowd, find_file)
    images, categories = raw['images'], raw['categories']
    annotations = raw['annotations']
    by_id = _check_images(images, path)
    if not categories:
        raise _format_error(path, 'lists no categories',
                            'Name the classes in it.')
    category_ids = _column(categories, 'id', _ID_TYPES, path, 'categories')
    _check_unique(category_ids, path, 'category ids',
                  'Give every class its own id.')
    names = _column(categories, 'name', frozenset({str}), path, 'categories')
    _check_unique(names, path, 'category names', 'Join or rename them.')
    _check_annotations(annotations, by_id, set(category_ids), path)
    header = {
        k: v
        for k, v in raw.items()
        if k not in ('images', 'annotations', 'categories')
    }
    return CocoData(path, by_id, group_by_image(annotations), categories,
                    header, repairs)


def is_box(annotation: Mapping) -> bool:
    """Whether a COCO annotation is a box that people draw.

    Crowd regions (``iscrowd``) and those marked ``ignore`` are none: they
    outline no single object, and no detector trains on them as one.
    """
    return not (annotation.get('iscrowd') or annotation.get('ignore'))


def group_by_image(
        annotations: Iterable[dict]) -> dict[ImageId, list[dict]]:
    """Annotations by image id, in their order."""
    grouped: dict[ImageId, list[dict]] = {}
    for a in annotations:
        grouped.setdefault(a['image_id'], []).append(a)
    return grouped


def write_split(path: str,
                coco: CocoData,
                ids: Iterable[ImageId],
                annotations: Iterable[Mapping] = ()) -> None:
    """Write :meth:`CocoData.subset` to ``path`` atomically."""
    write_json(path, coco.subset(ids, annotations))


def merge_annotations(*parts: Iterable[Mapping]) -> list[dict]:
    """Join annotations of several files under unique ids.

    An id keeps its value unless an earlier annotation has it already; such
    annotations get the next integers above every id in use. The result
    depends only on the order of ``parts``.
    """
    rows = [dict(a) for a in chain.from_iterable(parts)]
    top = max((a['id'] for a in rows if isinstance(a['id'], int)), default=0)
    seen = set()
    for a in rows:
        # A number above all others: a later annotation may have the next.
        if a['id'] in seen:
            top += 1
            a['id'] = top
        seen.add(a['id'])
    return rows


def check_classes(coco: CocoData,
                  classes: Sequence[str],
                  where: str,
                  allow_others: bool = False) -> None:
    """Compare a model's classes with the categories of a json.

    mmdet numbers its labels by the json's categories that are among
    ``classes``, in the json's order. A class without category therefore
    shifts all labels after it, another order gives every box a wrong name,
    and annotations of other categories vanish; all without a word. Here the
    three are errors. Categories that no annotation uses do no harm.

    Args:
        coco (CocoData): The file that trains or tests the model.
        classes (Sequence[str]): The ``classes`` of the data set's metainfo.
        where (str): The config key that holds them, for the message.
        allow_others (bool): Whether annotations of other classes are ignored,
            as mmdet does.

    Raises:
        ValueError: If names are missing or left over, or in another order.
    """
    if isinstance(classes, str):
        raise ValueError(f'{where} is the string {classes!r}: write a tuple '
                         f'of names, ({classes!r}, ).')
    classes = list(classes)
    known = set(classes)
    missing = [c for c in classes if c not in set(coco.class_names)]
    extra = {c['id']: c['name'] for c in coco.categories
             if c['name'] not in known}
    if allow_others:
        extra = {}
    if extra:  # those that no annotation uses do no harm
        used = {coco.categories[n]['id']
                for n in np.unique(coco.table().categories)}
        extra = {i: name for i, name in extra.items() if i in used}
    if missing or extra:
        text = (f'{where} and the categories of {coco.path} do not fit '
                'together.')
        if missing:
            text += (f' Classes that the file lacks: {some(missing, 10)}.'
                     f'{spelled_otherwise(missing, coco.class_names)}')
        if extra:
            text += (' Categories with annotations that the model does not '
                     f'know: {some(extra.values(), 10)}; mmdet would drop '
                     'them silently.')
        remedy = (' (e.g. remove these annotations), or set active_learning.'
                  'data.ignore_other_classes=True' if extra else '')
        raise ValueError(
            f'{text} Set {where} (and num_classes of the model) to the names '
            f'in the file, {some(coco.class_names, 10)}, or correct the file'
            f'{remedy}.')
    in_file = [n for n in coco.class_names if n in known]
    if in_file != classes:
        raise ValueError(
            f'{where} lists the classes of {coco.path} in another order. '
            'mmdet numbers labels in the order of the file, so names and '
            f'labels would not fit. Write {where} = {tuple(in_file)}.')


def spelled_otherwise(names: Iterable[str], known: Iterable[str]) -> str:
    """A sentence on names that are known in another spelling.

    Args:
        names (iterable[str]): Names that are not known.
        known (iterable[str]): Names that are.

    Returns:
        str: Which is which, with a blank before; empty if none is near.
    """
    plain = {' '.join(k.replace('_', ' ').split()).casefold(): k
             for k in known}
    pairs = []
    for name in names:
        form = ' '.join(name.replace('_', ' ').split()).casefold()
        near = difflib.get_close_matches(form, plain, n=1, cutoff=.8)
        if near:
            pairs.append(f'{name!r} for {plain[near[0]]!r}')
    if not pairs:
        return ''
    more = f' and {len(pairs) - 5} more' if len(pairs) > 5 else ''
    return f' Perhaps it is a spelling: {", ".join(pairs[:5])}{more}?'


def some(values: Iterable, limit: int = 5) -> str:
    """The first few of some values and how many there are."""
    values = list(values)
    shown = ', '.join(repr(v) for v in values[:limit])
    if len(values) <= limit:
        return shown
    return f'{shown}, … ({len(values)} in all)'


def read_content(path: str, backend_args: Optional[dict] = None) -> Any:
    """The parsed content of a json, whatever its encoding.

    Args:
        path (str): The file; UTF-8 or UTF-16, plain or compressed by gzip.
        backend_args (dict, optional): mmengine's file backend.

    Raises:
        FileNotFoundError, IsADirectoryError: If there is no such file.
        ValueError: If it is not JSON.
    """
    if backend_args is None and '://' not in path:
        try:
            with open(path, 'rb') as f:
                content = f.read()
        except FileNotFoundError:
            raise FileNotFoundError(
                f'there is no COCO file {path}. Check the path (ann_file is '
                'taken under data_root), or download or make the data set '
                'first.') from None
        except IsADirectoryError:
            raise IsADirectoryError(
                f'{path} is a folder: name the COCO json in it.') from None
    else:
        from mmengine import fileio
        content = fileio.get(path, backend_args)
    try:
        if content[:2] == b'\x1f\x8b':
            content = gzip.decompress(content)
        if orjson is not None:
            try:
                return orjson.loads(content)
            except orjson.JSONDecodeError:
                pass  # NaN, a byte order mark or a real mistake: see below
        encoding = 'utf-8-sig'  # with a byte order mark or without
        if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            encoding = 'utf-16'
        return json.loads(
            content.decode(encoding), parse_constant=lambda _: None)
    except (ValueError, OSError, EOFError, zlib.error) as e:
        raise _format_error(path, f'is not valid JSON ({e})',
                   'It may be cut off or not a JSON file: restore it or '
                   'download it again.') from e
    except RecursionError as e:
        raise _format_error(
            path, 'is nested too deeply for a COCO file') from e


@contextlib.contextmanager
def _paused_gc():
    """Millions of new dicts and no garbage: collecting doubles the time."""
    was_on = gc.isenabled()  # a caller may have turned it off for itself
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _format_error(path: str, problem: str, advice: str = '') -> ValueError:
    return ValueError(f'{path} {problem}. ' +
                      (advice or 'Correct the file or download it again.'))


def _check_rows(raw: Mapping, key: str, path: str) -> None:
    if key not in raw:
        raise _format_error(
            path, f'has no key "{key}": it is no COCO detection file')
    rows = raw[key]
    if not isinstance(rows, list):
        raise _format_error(
            path, f'has a {type(rows).__name__} under "{key}" where a list of '
            'objects is needed')
    if set(map(type, rows)) - {dict}:
        where = [n for n, r in enumerate(rows) if not isinstance(r, dict)]
        raise _format_error(
            path, f'has entries in "{key}" that are no objects, at the '
            f'positions {some(where)}')


def _column(rows: Sequence[dict], key: str, types: frozenset, path: str,
            kind: str) -> list:
    """The values of one key; all present and of the given types."""
    try:
        column = list(map(itemgetter(key), rows))
    except KeyError:
        column = [r.get(key, _MISSING) for r in rows]
    # No loop in python over what is right: files have 860,001 annotations.
    wrong_types = set(map(type, column)) - types
    if not wrong_types:
        return column
    wrong = [n for n, v in enumerate(column) if type(v) in wrong_types]
    absent = [n for n in wrong if column[n] is _MISSING]
    if absent:
        raise _format_error(
            path, f'has {_entries(rows, absent, kind)} without "{key}"')
    need = ' or '.join(sorted(t.__name__ for t in types))
    raise _format_error(
        path, f'has a wrong "{key}" in {_entries(rows, wrong, kind)}: '
        f'{column[wrong[0]]!r}, where {need} is needed')


def _entries(rows: Sequence[dict], positions: Sequence[int],
             kind: str) -> str:
    """Entries by id, or by position where they have none."""
    if all('id' in rows[n] for n in positions):
        return f'{kind} with the ids {some(rows[n]["id"] for n in positions)}'
    return f'{kind} at the positions {some(positions)}'


def _check_unique(values: Sequence, where: str, what: str,
                  advice: str) -> None:
    if len(set(values)) == len(values):
        return
    seen, duplicates = set(), {}
    for v in values:
        if v in seen:
            duplicates[v] = None
        seen.add(v)
    raise _format_error(where, f'has duplicate {what}: {some(duplicates)}',
                        advice)


def _check_images(rows: list[dict], path: str) -> dict[ImageId, dict]:
    """The images of a file by their ids."""
    if not rows:
        raise _format_error(path, 'lists no images: the pool is empty',
                            'Give a file with at least one image.')
    ids = _column(rows, 'id', _ID_TYPES, path, 'images')
    _check_unique(ids, path, 'image ids', 'Give every image its own id.')
    names = _column(rows, 'file_name', frozenset({str}), path, 'images')
    if '' in names:
        nameless = compress(ids, [not n for n in names])
        raise _format_error(
            path, f'has an empty "file_name" in the images {some(nameless)}')
    for key in ('width', 'height'):
        sizes = _column(rows, key, _NUMBERS, path, 'images')
        wrong = [i for i, s in zip(ids, sizes) if not 0 < s < 2**31]
        if wrong:
            raise _format_error(
                path, f'has images whose "{key}" is not above 0: the ids '
                f'{some(wrong)}')
    return dict(zip(ids, rows))


def _check_annotations(rows: list[dict], images: Mapping, categories: set,
                       path: str) -> None:
    kind = 'annotations'
    ids = _column(rows, 'id', _ID_TYPES, path, kind)
    _check_unique(ids, path, 'annotation ids',
                  'Number the annotations anew: no two may share an id.')
    for key, known, what in (('image_id', images, 'image'),
                             ('category_id', categories, 'category')):
        column = _column(rows, key, _ID_TYPES, path, kind)
        unknown = set(column).difference(known)
        if unknown:
            users = [i for i, v in zip(ids, column) if v in unknown]
            raise _format_error(
                path, f'has annotations of an unknown {what}: annotation ids '
                f'{some(users)} have the "{key}" '
                f'{some(sorted(unknown, key=str))}, which is not in the file',
                f'Add the missing {what} entries or remove the annotations.')
    _check_boxes(rows, ids, path)


def _check_boxes(rows: list[dict], ids: list, path: str) -> None:
    boxes = _column(rows, 'bbox', frozenset({list}), path, 'annotations')
    if set(map(len, boxes)) - {4}:
        raise _box_error(path, ids, [len(b) != 4 for b in boxes], boxes)
    if set(map(type, chain.from_iterable(boxes))) - _NUMBERS:
        wrong = [bool(set(map(type, b)) - _NUMBERS) for b in boxes]
        raise _box_error(path, ids, wrong, boxes)
    # The types first: numpy would take True for 1 and '1' for a number.
    try:
        values = np.fromiter(chain.from_iterable(boxes), np.float64)
    except OverflowError:  # an int beyond every float
        raise _box_error(
            path, ids, [max(map(abs, b)) > _LARGEST for b in boxes],
            boxes) from None
    values = values.reshape(-1, 4)
    wrong = ~np.isfinite(values).all(1) | (values[:, 2:] < 0).any(1)
    if wrong.any():
        raise _box_error(path, ids, wrong, boxes)


def _box_error(path, ids, wrong, boxes) -> ValueError:
    first = next(compress(boxes, wrong))
    return _format_error(
        path, f'has malformed boxes in the annotations '
        f'{some(compress(ids, wrong))}: {first}',
        'A "bbox" is [x, y, width, height]: four finite numbers, width and '
        'height not below 0. Correct or remove them.')
