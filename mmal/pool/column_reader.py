"""Large COCO files read piece by piece into columns.

Parsed as a whole, a file with seven million boxes becomes five gigabytes of
dicts. Here some megabytes are parsed at a time and put into arrays at once.
Only files in canonical form are read so, as most are; whoever calls reads all
others as a whole, repairs them or says what is wrong.
"""
from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any, BinaryIO, Callable, Optional

import numpy as np

from .columns import AnnotationColumns, AnnotationTable, ImageColumns, Texts

try:
    import orjson  # parses twice as fast
except ImportError:
    orjson = None
try:
    import msgspec  # twice as fast again, where it is told what is there
except ImportError:
    msgspec = None

_PIECE = 2**22  # bytes parsed at a time
_CUTS = 20  # places tried as the end of a row, in rows that hold others
_LARGEST_VALUE = 2**24  # bytes of what stands beside the rows
_LARGEST_ROW = 2**26
_SPACE = b' \t\n\r'
_BOX = tuple[float, float, float, float]
_IMAGE_KEYS = ('id', 'file_name', 'width', 'height')
_KEYS = ('id', 'image_id', 'category_id', 'area', 'iscrowd', 'bbox')


class NotCanonical(ValueError):
    """The file needs to be read, and perhaps repaired, as a whole."""


def read_columns(file: BinaryIO, need_annotations: bool = True) -> tuple[
        ImageColumns, AnnotationColumns, list[dict], dict[str, Any]]:
    """Read a COCO file in canonical form.

    Time O(N + n) for N images and n annotations; beside the columns no more
    than some megabytes.

    Args:
        file (BinaryIO): UTF-8 without a byte order mark.
        need_annotations (bool): If False, the key ``annotations`` may lack.

    Returns:
        tuple: Images, annotations, categories, and every other top-level
        entry.

    Raises:
        NotCanonical: If anything is not as it should be.
    """
    pieces = _Pieces(file)
    images, annotations = _Images(), _Annotations()
    lists = dict(images=images, annotations=annotations)
    others: dict[str, Any] = {}
    seen = set()
    pieces.take(b'{')
    while True:
        key = pieces.value()
        if not isinstance(key, str) or key in seen:
            raise NotCanonical
        seen.add(key)
        pieces.take(b':')
        if key in lists:
            for rows in pieces.rows(lists[key].parse):
                lists[key].add(rows)
        else:
            others[key] = pieces.value()
        if pieces.take(b',}') == b'}':
            break
    pieces.expect_end()
    needed = {'images', 'categories'} | (
        {'annotations'} if need_annotations else set())
    if not needed <= seen:
        raise NotCanonical
    categories = others.pop('categories')
    return (*annotations.columns(images.columns(), categories), categories,
            others)


class _Pieces:
    """The text of a file, of which some is in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._text = b''
        self._at = 0  # of what comes next
        self._is_over = False

    def take(self, expected: bytes) -> bytes:
        """The next character but blanks, one of those expected."""
        self._skip_space()
        found = self._text[self._at:self._at + 1]
        if not found or found not in expected:
            raise NotCanonical
        self._at += 1
        return found

    def expect_end(self) -> None:
        """Nothing but blanks may follow."""
        self._skip_space()
        if self._at < len(self._text):
            raise NotCanonical

    def value(self) -> Any:
        """The next value, a small one."""
        self._skip_space()
        size = 2**12
        while True:
            self._read(size)
            text = self._text[self._at:self._at + size].decode(
                'utf-8', 'surrogateescape')
            try:
                value, end = json.JSONDecoder(
                    parse_constant=_refuse).raw_decode(text)
            except (ValueError, RecursionError) as e:
                value, end = e, len(text)
            # a number might go on, and all that failed might be cut off
            is_whole = end < len(text) and not isinstance(value, Exception)
            if is_whole:
                try:
                    self._at += len(text[:end].encode())
                except UnicodeEncodeError:
                    raise NotCanonical from None
                return value
            if len(self._text) - self._at < size or size > _LARGEST_VALUE:
                raise NotCanonical
            size *= 4

    def rows(self, parse: Callable[[bytes], list]) -> Iterator[list]:
        """The entries of the list that comes next, some thousand at a
        time."""
        self.take(b'[')
        self._skip_space()
        if self._text[self._at:self._at + 1] == b']':
            self._at += 1
            return
        size = _PIECE
        while True:
            self._read(size)
            text = self._text[self._at:self._at + size]
            rows, length, is_last = _parse_rows(text, parse)
            if rows is None:
                if len(self._text) - self._at < size or size > _LARGEST_ROW:
                    raise NotCanonical
                size *= 2  # not one row ends in it
                continue
            self._at += length
            yield rows
            if is_last or self.take(b',]') == b']':
                return
            size = _PIECE

    def _read(self, size: int) -> None:
        """Have so many bytes from here on in memory, unless it ends."""
        missing = size - (len(self._text) - self._at)
        if missing > 0 and not self._is_over:
            more = self._file.read(max(missing, _PIECE))
            self._is_over = len(more) < max(missing, _PIECE)
            self._text = self._text[self._at:] + more
            self._at = 0

    def _skip_space(self) -> None:
        while True:
            self._read(64)
            rest = self._text[self._at:self._at + 64]
            blanks = len(rest) - len(rest.lstrip(_SPACE))
            self._at += blanks
            if not rest or blanks < len(rest):
                return


def _refuse(constant: str) -> None:
    raise NotCanonical


def _loads(content: bytes) -> Any:
    return (orjson or json).loads(content)


def _parse_rows(text: bytes, parse: Callable[[bytes], list]
                ) -> tuple[Optional[list], int, bool]:
    """The whole rows at the beginning of a text that starts with a row.

    What parses as a list cannot end within a row: brackets and quotes would
    not be closed.

    Returns:
        tuple: Rows, their length in bytes with the bracket if the list ends
        there, and whether it does; rows are None if no row ends in the text.
    """
    end = len(text)
    for _ in range(_CUTS):
        end = _end_of_row(text, end)
        content = b'[%b]' % text[:end or len(text)]
        try:
            return parse(content), end or len(text), False
        except ValueError as e:  # orjson's error is a json.JSONDecodeError
            # or the list ended before, and something else followed
            at = getattr(e, 'pos', 0)
            whole = content.decode('utf-8', 'replace')[:at].encode().rstrip(
                _SPACE)
        except RecursionError:
            raise NotCanonical from None
        if whole.endswith(b']') and len(whole) > 1:
            try:
                return parse(whole), len(whole) - 1, True
            except ValueError:
                pass
        if not end:
            break
    return None, 0, False


def _end_of_row(text: bytes, end: int) -> int:
    """Behind the last ``}`` before ``end`` that ``, {`` follows, or 0."""
    while (end := text.rfind(b'{', 0, end)) > 0:
        before = text[max(0, end - 256):end].rstrip(_SPACE)
        if before.endswith(b',') and before[:-1].rstrip(_SPACE).endswith(
                b'}'):
            return text.rfind(b'}', 0, end) + 1
    return 0


def _array(values: Sequence, kinds: str, *shape: int) -> np.ndarray:
    """Numbers of some kinds ('i', 'f') and nothing else, [M, *shape]."""
    if not values:
        return np.empty((0, *shape), np.int64)
    try:
        array = np.array(values)
    except (ValueError, OverflowError):  # lists of different lengths
        raise NotCanonical from None
    if array.dtype.kind not in kinds or array.shape[1:] != shape:
        raise NotCanonical
    return array


def _are_unique(ids: np.ndarray) -> bool:
    # most files number upwards, and sorting is quicker than np.unique
    if (ids[1:] > ids[:-1]).all():
        return True
    ids = np.sort(ids)
    return bool((ids[1:] > ids[:-1]).all())


def _columns_of(rows: Sequence, keys: tuple[str, ...]) -> list[list]:
    """The values of keys that every row must have."""
    try:
        return [list(map(itemgetter(key), rows)) for key in keys]
    except (KeyError, TypeError):
        raise NotCanonical from None


def _extras(rows: Sequence[dict], known: frozenset[str]) -> Texts:
    """The other fields of each row as JSON."""
    if set(map(len, rows)) == {len(known)}:
        return Texts(b'', np.zeros(len(rows), np.int64))
    dumps = orjson.dumps if orjson else lambda value: json.dumps(
        value, allow_nan=False, separators=(',', ':')).encode()
    try:
        return Texts.of(
            b'' if len(row) == len(known) else dumps(
                {k: v for k, v in row.items() if k not in known})
            for row in rows)
    except (ValueError, TypeError):  # orjson knows no integers beyond 64 bits
        raise NotCanonical from None


class _Images:
    """Collects the columns of images."""

    parse = staticmethod(_loads)

    def __init__(self) -> None:
        self.parts: list[tuple] = []

    def add(self, rows: list[dict]) -> None:
        ids, names, *sizes = _columns_of(rows, _IMAGE_KEYS)
        if set(map(type, names)) != {str} or '' in names:
            raise NotCanonical
        try:
            encoded = Texts.of(map(str.encode, names))
        except UnicodeEncodeError:  # half a character
            raise NotCanonical from None
        self.parts.append((
            _array(ids, 'i'), encoded,
            np.stack([_array(side, 'i') for side in sizes], 1),
            _extras(rows, frozenset(_IMAGE_KEYS))))

    def columns(self) -> ImageColumns:
        if not self.parts:
            raise NotCanonical
        ids, names, sizes, extras = zip(*self.parts)
        ids, sizes = np.concatenate(ids), np.concatenate(sizes)
        if not _are_unique(ids) or sizes.min() < 1 or sizes.max() >= 2**31:
            raise NotCanonical
        return ImageColumns(ids, Texts.joined(names), sizes.astype(np.int32),
                            Texts.joined(extras))


class _Annotations:
    """Collects the columns of annotations."""

    def __init__(self) -> None:
        self.parts: list[tuple] = []
        self._decoder = None
        if msgspec is not None:
            row = msgspec.defstruct(
                '_Row', [(key, int) for key in _KEYS[:3]] +
                [('area', float), ('iscrowd', int), ('bbox', _BOX)],
                forbid_unknown_fields=True, gc=False)
            self._decoder = msgspec.json.Decoder(list[row])

    def parse(self, content: bytes) -> list:
        """Rows with attributes, if they have these keys and no others; or
        dicts."""
        if self._decoder is not None:
            try:
                return self._decoder.decode(content)
            except msgspec.ValidationError:
                self._decoder = None  # the others will be alike
            except (msgspec.MsgspecError, RecursionError):
                pass  # orjson says where it is wrong
        return _loads(content)

    def add(self, rows: list) -> None:
        if rows and not isinstance(rows[0], dict):
            self._add_typed(rows)
            return
        *columns, boxes = _columns_of(rows, _KEYS)
        known = frozenset(_KEYS)
        ignored = [0] * len(rows)
        if set(map(len, rows)) != {len(known)} and any(
                'ignore' in row for row in rows):
            ignored, = _columns_of(rows, ('ignore', ))
            known |= {'ignore'}
        ids, images, categories, areas, crowd = (
            _array(column, 'if' if key == 'area' else 'i')
            for key, column in zip(_KEYS, columns))
        self._add_columns(
            ids, images, categories, areas.astype(np.float64), crowd,
            _array(ignored, 'i'), _array(boxes, 'if', 4).astype(np.float64),
            _extras(rows, known))

    def _add_typed(self, rows: list) -> None:
        """Rows whose attributes are of the right types."""
        number = len(rows)
        try:
            *columns, areas, crowd = (
                np.fromiter(map(attrgetter(key), rows),
                            np.float64 if key == 'area' else np.int64, number)
                for key in _KEYS[:-1])
            boxes = np.fromiter(
                chain.from_iterable(map(attrgetter('bbox'), rows)),
                np.float64, 4 * number)
        except (AttributeError, OverflowError):  # no objects; beyond 64 bits
            raise NotCanonical from None
        self._add_columns(
            *columns, areas, crowd, np.zeros(number, np.int64),
            boxes.reshape(-1, 4),
            Texts(b'', np.zeros(number, np.int64)))

    def _add_columns(self, ids: np.ndarray, images: np.ndarray,
                     categories: np.ndarray, areas: np.ndarray,
                     crowd: np.ndarray, ignored: np.ndarray,
                     boxes: np.ndarray, extras: Texts) -> None:
        # what make_canonical would repair, or the checks refuse
        if not np.isfinite(boxes).all() or (boxes[:, 2:] < 0).any() or \
                not (0 < areas).all() or not np.isfinite(areas).all() or \
                ((crowd | ignored) & ~1).any():
            raise NotCanonical
        self.parts.append((ids, images, categories, boxes, areas,
                           crowd.astype(bool), ignored.astype(bool), extras))

    def columns(self, images: ImageColumns, categories: Any
                ) -> tuple[ImageColumns, AnnotationColumns]:
        """The annotations beside their images, if all belongs together."""
        if not isinstance(categories, list) or not categories or set(
                map(type, categories)) != {dict}:
            raise NotCanonical
        category_ids, names = _columns_of(categories, ('id', 'name'))
        category_ids = _array(category_ids, 'i')
        if set(map(type, names)) != {str} or '' in names or \
                len(set(names)) < len(names) or \
                not _are_unique(category_ids):
            raise NotCanonical
        if not self.parts:
            self.add([])
        parts = [list(column) for column in zip(*self.parts)]
        self.parts = []

        def joined() -> np.ndarray:
            """The next column; its parts are freed before another's are
            joined, or all would be there twice."""
            return np.concatenate(parts.pop(0))

        ids = joined()
        if not _are_unique(ids):
            raise NotCanonical
        try:
            of_image = images.positions(joined()).astype(np.int32)
        except KeyError:
            raise NotCanonical from None
        order = np.argsort(category_ids)
        wanted = joined()
        at = np.searchsorted(category_ids[order], wanted)
        at[at == len(order)] = 0
        at = order[at].astype(np.int32)
        if (category_ids[at] != wanted).any():
            raise NotCanonical
        del wanted
        table = AnnotationTable(of_image, at, joined(), joined(), joined(),
                                joined())
        return images, AnnotationColumns(images, ids, table, category_ids,
                                         Texts.joined(parts[0]))
