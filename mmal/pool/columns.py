"""A COCO file as arrays: images and annotations without a dict for each.

A dict for each of the boxes of a million images takes gigabytes; as columns
they take some sixty bytes each, workers that are forked share them, and what
is asked of all of them at once is asked in numpy. To whoever looks at single
images they are the mappings that a parsed file would give.
"""
from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from mmal.types import ImageId


class Texts(Sequence[str]):
    """N strings in one piece of memory.

    Args:
        content (bytes): All of them, in UTF-8.
        ends (np.ndarray): int64 [N], where each ends.
    """

    def __init__(self, content: bytes, ends: np.ndarray) -> None:
        self._content = content
        self._ends = ends

    @classmethod
    def of(cls, values: Iterable[bytes]) -> Texts:
        """Those of some encoded strings."""
        values = list(values)
        return cls(b''.join(values),
                   np.cumsum(np.fromiter(map(len, values), np.int64,
                                         len(values))))

    @classmethod
    def joined(cls, parts: Sequence[Texts]) -> Texts:
        """Several of them in a row."""
        sizes = np.cumsum([0, *(len(p._content) for p in parts)])
        ends = [p._ends + start for p, start in zip(parts, sizes)]
        return cls(b''.join(p._content for p in parts),
                   np.concatenate(ends) if ends else np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, n: int) -> str:
        return self.encoded(n).decode()

    def __iter__(self) -> Iterator[str]:
        starts = [0, *self._ends[:-1].tolist()]
        parts = zip(starts, self._ends.tolist())
        if self._content.isascii():  # half the time
            text = self._content.decode()
            return (text[a:b] for a, b in parts)
        content = self._content
        return (content[a:b].decode() for a, b in parts)

    @property
    def is_plain(self) -> bool:
        """Whether they are ASCII without the separators of Windows."""
        return self._content.isascii() and b'\\' not in self._content

    def encoded(self, n: int) -> bytes:
        """One of them, in UTF-8."""
        start = self._ends[n - 1] if n else 0
        return self._content[start:self._ends[n]]


class ImageColumns(Mapping[ImageId, dict]):
    """The images of a file by id, in its order.

    A lookup makes a new dict, O(log N); changing it changes nothing here.

    Args:
        ids (np.ndarray): int64 [N], all different.
        names (Texts): Their ``file_name``.
        sizes (np.ndarray): int32 [N, 2], width and height.
        extras (Texts): [N], all other fields as JSON, '' where there are
            none.
    """

    def __init__(self, ids: np.ndarray, names: Texts, sizes: np.ndarray,
                 extras: Texts) -> None:
        self.id_array = ids
        self.names = names
        self.sizes = sizes
        self._extras = extras
        self._order = None  # positions by id; none where the ids ascend
        if (ids[1:] <= ids[:-1]).any():  # their difference may overflow
            self._order = np.argsort(ids, kind='stable')
        self._sorted = ids if self._order is None else ids[self._order]

    def __len__(self) -> int:
        return len(self.id_array)

    def __iter__(self) -> Iterator[int]:
        return iter(self.id_array.tolist())

    def __contains__(self, id: object) -> bool:
        return self.position(id) is not None

    def __getitem__(self, id: ImageId) -> dict:
        n = self.position(id)
        if n is None:
            raise KeyError(id)
        width, height = self.sizes[n].tolist()
        extra = self._extras.encoded(n)
        return dict(id=int(self.id_array[n]), file_name=self.names[n],
                    width=width, height=height,
                    **(json.loads(extra) if extra else {}))

    def positions(self, ids: Iterable[ImageId]) -> np.ndarray:
        """Where images are in the file.

        Args:
            ids (iterable[int | str]): M ids.

        Returns:
            np.ndarray: int64 [M].

        Raises:
            KeyError: If one is not in the file.
        """
        if isinstance(ids, np.ndarray) and ids.dtype == np.int64:
            wanted = ids
        else:
            ids = list(ids)
            if set(map(type, ids)) - {int}:  # numpy would take '7' for 7
                return np.array([self._found(i) for i in ids], np.int64)
            try:
                wanted = np.array(ids, np.int64)
            except OverflowError:
                return np.array([self._found(i) for i in ids], np.int64)
        first, last = (int(self._sorted[n]) for n in (0, -1))
        if last - first == len(self) - 1:
            at = wanted - first  # no number is left out
            at[(at < 0) | (at >= len(self))] = 0
        else:
            at = np.searchsorted(self._sorted, wanted)
            at[at == len(self)] = 0
        wrong = np.flatnonzero(self._sorted[at] != wanted)
        if len(wrong):
            raise KeyError(ids[wrong[0]])
        return at if self._order is None else self._order[at]

    def _found(self, id: ImageId) -> int:
        n = self.position(id)
        if n is None:
            raise KeyError(id)
        return n

    def position(self, id: object) -> Optional[int]:
        """Where one image is in the file; None if it is not in it."""
        if not isinstance(id, (int, np.integer)):
            return None
        try:
            at = int(self._sorted.searchsorted(id))
        except OverflowError:  # beyond 64 bits
            return None
        if at == len(self) or self._sorted[at] != id:
            return None
        return at if self._order is None else int(self._order[at])


@dataclass
class AnnotationTable:
    """Annotations as columns, for what is asked of all of them.

    Args:
        images (np.ndarray): int32 [n], positions of their images.
        categories (np.ndarray): int32 [n], positions of their categories.
        boxes (np.ndarray): float64 [n, 4], x, y, width and height in pixels.
        areas (np.ndarray): float64 [n].
        crowd (np.ndarray): bool [n], ``iscrowd``.
        ignored (np.ndarray): bool [n], ``ignore``.
        rows (sequence[dict], optional): The annotations that it was made of,
            which are marked as well.
    """
    images: np.ndarray
    categories: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    ignored: np.ndarray
    rows: Optional[Sequence[dict]] = None

    @classmethod
    def of(cls, annotations: Iterable[dict],
           images: Mapping[ImageId, Any],
           categories: Sequence[Mapping]) -> AnnotationTable:
        """The table of canonical annotations.

        Args:
            annotations (iterable[dict]): n of them.
            images (Mapping): The images by id.
            categories (sequence[Mapping]): The categories.
        """
        rows = list(annotations)
        ids = [a['image_id'] for a in rows]
        if isinstance(images, ImageColumns):
            at = images.positions(ids)
        else:
            position = {i: n for n, i in enumerate(images)}
            at = [position[i] for i in ids]
        place = {c['id']: n for n, c in enumerate(categories)}
        return cls(
            np.array(at, np.int32),
            np.array([place[a['category_id']] for a in rows], np.int32),
            np.array([a['bbox'] for a in rows], np.float64).reshape(-1, 4),
            np.array([a.get('area', 0) for a in rows], np.float64),
            np.array([bool(a.get('iscrowd')) for a in rows], bool),
            np.array([bool(a.get('ignore')) for a in rows], bool),
            rows)

    @property
    def is_box(self) -> np.ndarray:
        """bool [n], see :func:`~mmal.pool.coco.is_box`."""
        return ~(self.crowd | self.ignored)

    def ignore(self, flags: np.ndarray) -> None:
        """Mark annotations as ``ignore``, here and where they came from.

        Args:
            flags (np.ndarray): bool [n].
        """
        self.ignored |= flags
        if self.rows is not None:
            for n in np.flatnonzero(flags):
                self.rows[n]['ignore'] = 1

    def __len__(self) -> int:
        return len(self.images)


class AnnotationColumns(Mapping[ImageId, list[dict]]):
    """The annotations of a file by image id; images without any are no key.

    A lookup makes new dicts; what is marked in ``table`` shows in them.

    Args:
        images (ImageColumns): The images.
        ids (np.ndarray): int64 [n], of the annotations.
        table (AnnotationTable): [n], in the order of the file.
        category_ids (np.ndarray): int64 [C], in the order of the file.
        extras (Texts): [n], all other fields as JSON, '' where there are
            none.
    """

    def __init__(self, images: ImageColumns, ids: np.ndarray,
                 table: AnnotationTable, category_ids: np.ndarray,
                 extras: Texts) -> None:
        self.images = images
        self.table = table
        self._ids = ids
        self._category_ids = category_ids
        self._extras = extras
        self._order = None  # by image; none where they lie so in the file
        if (table.images[1:] < table.images[:-1]).any():
            self._order = np.argsort(table.images, kind='stable')
        # those of image k are in [ends[k - 1], ends[k]) of the order
        self._ends = np.cumsum(
            np.bincount(table.images, minlength=len(images)))

    def __len__(self) -> int:
        return int((np.diff(self._ends, prepend=0) > 0).sum())

    def __iter__(self) -> Iterator[int]:
        has_some = np.diff(self._ends, prepend=0) > 0
        return iter(self.images.id_array[has_some].tolist())

    def __contains__(self, id: object) -> bool:
        n = self.images.position(id)
        return n is not None and len(self._of_image(n)) > 0

    def __getitem__(self, id: ImageId) -> list[dict]:
        n = self.images.position(id)
        at = [] if n is None else self._of_image(n)
        if not len(at):
            raise KeyError(id)
        return self._rows(at)

    def of(self, ids: Iterable[ImageId]) -> list[dict]:
        """All annotations of some images, image by image."""
        parts = [self._of_image(n) for n in self.images.positions(ids)]
        return self._rows(np.concatenate(parts)) if parts else []

    def count_boxes(self, ids: Iterable[ImageId]) -> np.ndarray:
        """Boxes on M images, int64 [M]; O(boxes on them) for a few."""
        at, table = self.images.positions(ids), self.table
        if len(at) < len(self.images) / 100:
            rows = (self._of_image(n) for n in at)
            return np.array([(~(table.crowd[r] | table.ignored[r])).sum()
                             for r in rows], np.int64)
        of_image = np.bincount(table.images[table.is_box],
                               minlength=len(self.images))
        return of_image[at].astype(np.int64)

    def _rows(self, at: np.ndarray) -> list[dict]:
        """Annotations by their positions in the file."""
        table = self.table
        rows = [
            dict(id=i, image_id=image, category_id=category, bbox=box,
                 area=area, iscrowd=int(crowd))
            for i, image, category, box, area, crowd in zip(
                self._ids[at].tolist(),
                self.images.id_array[table.images[at]].tolist(),
                self._category_ids[table.categories[at]].tolist(),
                table.boxes[at].tolist(), table.areas[at].tolist(),
                table.crowd[at].tolist())
        ]
        for row, n, ignored in zip(rows, at, table.ignored[at].tolist()):
            extra = self._extras.encoded(n)
            if extra:
                row.update(json.loads(extra))
            if ignored:
                row['ignore'] = 1
        return rows

    def _of_image(self, n: int) -> np.ndarray:
        at = np.arange(self._ends[n - 1] if n else 0, self._ends[n])
        return at if self._order is None else self._order[at]
