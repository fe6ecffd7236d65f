"""What the data of a run were when it began, to tell changes from them later.

A run that goes on with other boxes, classes or photos than it began with is
two experiments under one name, and nobody sees it from its numbers.
"""
from __future__ import annotations

import hashlib
import os.path as osp
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Optional

import numpy as np

from mmal.fileio import atomic_write
from mmal.types import ImageId
from .coco import CocoData, some
from .columns import AnnotationTable
from .images import file_status

_IMAGES = np.dtype([('key', 'u8'), ('entry', 'u8'), ('boxes', 'i8'),
                    ('labels', 'u8')])
_FILES = np.dtype([('key', 'u8'), ('size', 'i8'), ('time', 'i8'),
                   ('content', 'u8')])


@dataclass
class ImageTable:
    """A COCO file as four numbers for each image.

    Args:
        rows (np.ndarray): [N], sorted by ``key``, a hash of the id:
            ``entry``, a hash of file name, width and height; ``boxes``, how
            many annotations; ``labels``, a hash of them in no order.
        ids (list[int | str], optional): In the order of the rows; not kept
            on the disk.
    """
    rows: np.ndarray
    ids: Optional[list[ImageId]] = None

    @classmethod
    def of(cls, coco: CocoData,
           annotations: Optional[AnnotationTable] = None) -> ImageTable:
        """The table of a file; O(N + boxes), the boxes in numpy.

        Args:
            coco (CocoData): The images and categories.
            annotations (AnnotationTable, optional): What is known of them.
                Default: the annotations of the file.
        """
        table = coco.table() if annotations is None else annotations
        ids = coco.ids
        rows = np.empty(len(ids), _IMAGES)
        rows['key'] = _hash_ids(ids)
        names = b''.join(_digest(name) for name in coco.file_names)
        rows['entry'] = _mix_in(np.frombuffer(names, '<u8'),
                                coco.sizes.T)
        rows['boxes'] = np.bincount(table.images, minlength=len(rows))
        # a sum, so that the order of annotations does not matter
        labels = np.zeros(len(rows), np.uint64)
        np.add.at(labels, table.images, _hash_boxes(coco, table))
        rows['labels'] = labels
        order = np.argsort(rows['key'], kind='stable')
        return cls(rows[order], [ids[n] for n in order])

    def differences(self, now: ImageTable, where: str) -> list[str]:
        """What changed of the images that both have, a line for each kind.

        Args:
            now (ImageTable): The table of the file as it is now.
            where (str): What the file is called in the lines.
        """
        _, old, new = np.intersect1d(
            self.rows['key'], now.rows['key'], assume_unique=True,
            return_indices=True)
        before, after = self.rows[old], now.rows[new]
        lines = []
        changed = before['entry'] != after['entry']
        if changed.any():
            lines.append(
                f'{where}: file name or size of {int(changed.sum()):,} of '
                f'{len(old):,} images: ids '
                f'{some(now.ids[n] for n in new[changed])}')
        changed = (before['labels'] != after['labels']) | (
            before['boxes'] != after['boxes'])
        if changed.any():
            lines.append(
                f'{where}: annotations of {int(changed.sum()):,} of '
                f'{len(old):,} images ({int(before["boxes"].sum()):,} '
                f'annotations then, {int(after["boxes"].sum()):,} now): ids '
                f'{some(now.ids[n] for n in new[changed])}')
        return lines

    def ids_missing_in(self, other: ImageTable) -> list[ImageId]:
        """The images that another table does not list."""
        missing = ~np.isin(self.rows['key'], other.rows['key'])
        return [self.ids[n] for n in np.flatnonzero(missing)]

    def number_missing_in(self, other: ImageTable) -> int:
        """How many images another table does not list."""
        return int((~np.isin(self.rows['key'], other.rows['key'])).sum())


@dataclass
class DataRecord:
    """The data behind a run; ``data.npz`` of its work folder.

    Args:
        classes (list[str]): Category names of the pool, in its order.
        tables (dict[str, ImageTable]): ``pool``, with what the oracle knows
            of it; where there are such files ``initial`` and ``validation``.
        files (np.ndarray): Size, time and content of labelled image files.
    """
    classes: list[str]
    tables: dict[str, ImageTable]
    files: np.ndarray = field(default_factory=lambda: np.empty(0, _FILES))

    def differences(self, now: DataRecord) -> list[str]:
        """What changed in the COCO files, a line for each kind.

        Images that were added to the pool, or that it no longer lists, are
        no change of what was there.

        Args:
            now (DataRecord): The data as they are.
        """
        lines = []
        if self.classes != now.classes:
            lines.append(f'classes of the pool: {some(self.classes, 20)} -> '
                         f'{some(now.classes, 20)}')
        for name in self.tables.keys() & now.tables.keys():
            old, new = self.tables[name], now.tables[name]
            gone, added = old.number_missing_in(new), new.ids_missing_in(old)
            if name != 'pool' and (gone or added):
                lines.append(f'{name}: {gone:,} images are gone, '
                             f'{len(added):,} are new')
            lines += old.differences(new, name)
        return lines

    def changed_files(self, coco: CocoData, prefix: str,
                      ids: Iterable[ImageId]) -> list[ImageId]:
        """Labelled images whose file has another content by now.

        A file is read only if its size is the same and its time is not:
        copying a data set changes times alone. Missing files are left to
        whoever reads the images.

        Args:
            coco (CocoData): The pool.
            prefix (str): The folder of the images.
            ids (iterable[int | str]): Images that were recorded; others are
                passed over.
        """
        known = {int(row['key']): row for row in self.files}
        changed = []
        ids = list(ids)
        for i, key in zip(ids, _hash_ids(ids).tolist()):
            row = known.get(key)
            path = osp.join(prefix, coco.images[i]['file_name'])
            status = file_status(path)
            if row is None or status is None:
                continue
            size, time = status
            if size == row['size'] and (
                    time == row['time'] or _hash_file(path) == row['content']):
                continue
            changed.append(i)
        return changed

    def unchanged_files(self, coco: CocoData, prefix: str,
                        ids: Iterable[ImageId]) -> list[ImageId]:
        """Images whose file has the size and time that were recorded.

        Args:
            coco (CocoData): The pool.
            prefix (str): The folder of the images.
            ids (iterable[int | str]): Images; those that were not recorded
                are passed over.
        """
        known = {int(row['key']): (row['size'], row['time'])
                 for row in self.files}
        ids = list(ids)
        return [
            i for i, key in zip(ids, _hash_ids(ids).tolist())
            if key in known and known[key] == file_status(
                osp.join(prefix, coco.images[i]['file_name']))
        ]

    def add_files(self, coco: CocoData, prefix: str,
                  ids: Iterable[ImageId]) -> bool:
        """Record the image files of newly labelled images.

        Args:
            coco (CocoData): The pool.
            prefix (str): The folder of the images.
            ids (iterable[int | str]): Labelled images; those recorded before
                are passed over.

        Returns:
            bool: Whether there was any to record.
        """
        known = set(self.files['key'].tolist())
        rows = []
        ids = list(ids)
        for i, key in zip(ids, _hash_ids(ids).tolist()):
            path = osp.join(prefix, coco.images[i]['file_name'])
            status = file_status(path)
            if key not in known and status is not None:
                rows.append((key, *status, _hash_file(path)))
        if rows:
            self.files = np.concatenate([self.files, np.array(rows, _FILES)])
        return bool(rows)

    def digest(self, *names: str) -> str:
        """A hash of classes and tables, whatever the order of their files.

        Args:
            *names (str): The tables; all by default. One that the data do
                not have counts as such.
        """
        content = hashlib.sha256(repr(self.classes).encode())
        for name in names or sorted(self.tables):
            table = self.tables.get(name)
            content.update(f'\n{name} '.encode())
            content.update(b'none' if table is None else table.rows.tobytes())
        return content.hexdigest()[:16]

    def files_digest(self) -> str:
        """A hash of what the recorded image files contain, not of their
        times."""
        files = self.files[np.argsort(self.files['key'], kind='stable')]
        return hashlib.sha256(
            files['key'].tobytes() + files['content'].tobytes()
        ).hexdigest()[:16]

    def files_without(self, ids: Iterable[ImageId]) -> np.ndarray:
        """The recorded files but those of some images."""
        return self.files[~np.isin(self.files['key'], _hash_ids(list(ids)))]

    def save(self, path: str) -> None:
        """Write to ``path`` atomically."""
        tables = {name: table.rows for name, table in self.tables.items()}
        with atomic_write(path) as f:
            np.savez(f, **tables, _files=self.files,
                     _classes=np.array(self.classes, np.str_))

    @classmethod
    def load(cls, path: str) -> DataRecord:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: If it is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as z:
                arrays = {key: z[key] for key in z.files}
            classes, files = arrays.pop('_classes'), arrays.pop('_files')
            if files.dtype != _FILES or 'pool' not in arrays or any(
                    rows.dtype != _IMAGES for rows in arrays.values()):
                raise ValueError('its arrays are of another form')
        except Exception as e:  # zip files break in many ways
            what = 'missing' if isinstance(e, FileNotFoundError) else \
                f'damaged ({e})'
            raise ValueError(
                f'{path}, which holds what the data were when the run began, '
                f'is {what}. Restore it from a copy; --resume force takes '
                'the data as they are now.') from e
        return cls(classes.tolist(),
                   {name: ImageTable(rows) for name, rows in arrays.items()},
                   files)


def _hash_boxes(coco: CocoData, table: AnnotationTable) -> np.ndarray:
    """A hash of each annotation's box, class, area and crowd flag; uint64."""
    classes = np.array([_hash(c['name']) for c in coco.categories], np.uint64)
    return _mix_in(classes[table.categories],
                   (*table.boxes.T, table.areas, table.crowd))


def _mix_in(hashes: np.ndarray,
            columns: Iterable[np.ndarray]) -> np.ndarray:
    """Hashes of what was hashed and some numbers more."""
    for column in columns:
        number = column.astype(np.float64) + 0.0  # -0.0 is 0.0
        hashes = _mix(hashes ^ number.view(np.uint64))
    return hashes


def _mix(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(
        0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(
        0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _digest(text: str) -> bytes:
    return hashlib.blake2b(
        text.encode('utf-8', 'backslashreplace'), digest_size=8).digest()


def _hash(text: str) -> int:
    return int.from_bytes(_digest(text), 'little')


def _hash_ids(ids: Sequence[ImageId]) -> np.ndarray:
    """uint64 [M], of each id what it has in any company."""
    hashes = np.empty(len(ids), np.uint64)
    whole = np.array([type(i) is int and -2**63 <= i < 2**63 for i in ids],
                     bool)
    hashes[whole] = _mix(np.array(
        [i for i, is_whole in zip(ids, whole.tolist()) if is_whole],
        np.int64).view(np.uint64))
    hashes[~whole] = [_hash(repr(ids[n])) for n in np.flatnonzero(~whole)]
    return hashes


def _hash_file(path: str) -> int:
    with open(path, 'rb') as f:
        content = f.read()
    return int.from_bytes(
        hashlib.blake2b(content, digest_size=8).digest(), 'little')
