"""What the readers of label formats share: a COCO dict and notes on it."""
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

_EXAMPLES = 3


class Notes:
    """What was repaired, left out or looks odd, counted by kind."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}

    def add(self, kind: str, where: str = '', count: int = 1) -> None:
        """Count more of a kind.

        Args:
            kind (str): Says what it is and what became of it.
            where (str): The file; the first few are shown.
            count (int): How many more.
        """
        self._counts[kind] += count
        examples = self._examples.setdefault(kind, [])
        if where and where not in examples and len(examples) <= _EXAMPLES:
            # A name that is not UTF-8 could not be printed.
            examples.append(
                where.encode('utf-8', 'backslashreplace').decode())

    def merge(self, other: Notes) -> None:
        """Add the counts of others."""
        self._counts.update(other._counts)
        for kind, examples in other._examples.items():
            mine = self._examples.setdefault(kind, [])
            mine += examples[:_EXAMPLES + 1 - len(mine)]

    @property
    def counts(self) -> dict[str, int]:
        """How many there are of each kind."""
        return dict(self._counts)

    def lines(self) -> list[str]:
        """One line for each kind, in the order in which they came up."""
        out = []
        for kind, count in self._counts.items():
            examples = self._examples[kind]
            shown = ', '.join(examples[:_EXAMPLES])
            if len(examples) > _EXAMPLES:
                shown += ', …'
            out.append(f'{kind}: {count}' + (f' ({shown})' if shown else ''))
        return out


@dataclass
class Conversion:
    """A COCO file that was made of something else.

    Args:
        coco (dict): Its content.
        img_prefix (str): The folder that file names are relative to.
        notes (Notes): What was repaired or left out.
    """
    coco: dict
    img_prefix: str
    notes: Notes = field(default_factory=Notes)

    def summary(self, path: str) -> str:
        """What a person should know about the file, in a few lines.

        Args:
            path (str): Where it was written.
        """
        coco = self.coco
        boxes = Counter(a['category_id'] for a in coco['annotations'])
        classes = [f'{c["name"]} {boxes[c["id"]]:,}' if boxes else c['name']
                   for c in coco['categories']]
        if len(classes) > 30:
            classes[30:] = [f'… ({len(classes)} in all)']
        return '\n  '.join([
            f'{path}: {len(coco["images"])} images, '
            f'{len(coco["annotations"])} objects',
            f'file names are relative to {self.img_prefix}',
            f'classes: {", ".join(classes)}', *self.notes.lines()])


class CocoBuilder:
    """Collects the images and boxes of a COCO file.

    Boxes are cut at the border of the image, since what lies outside cannot
    be seen. What mmdet would drop without a word, boxes of which less than a
    pixel remains, is left out and counted.

    Args:
        source (str): The folder that it is made of, for messages.
        notes (Notes): Gets the counts.
    """

    def __init__(self, source: str, notes: Notes) -> None:
        self.source = source
        self.images: list[dict] = []
        self.annotations: list[dict] = []
        self.notes = notes
        self._left_out: list[str] = []

    def add_image(self, file_name: str, width: int, height: int) -> dict:
        """Add an image; ids count from 1.

        Returns:
            dict: Its entry.
        """
        image = dict(id=len(self.images) + 1, file_name=file_name,
                     width=width, height=height)
        self.images.append(image)
        return image

    def add_box(self, image: Mapping, category_id: int,
                corners: Sequence[float], where: str,
                iscrowd: int = 0) -> None:
        """Add a box.

        Args:
            image (Mapping): The entry of its image.
            category_id (int): Its class.
            corners (Sequence[float]): Left, top, right and bottom in pixels,
                counted from 0.
            where (str): The file it is from.
            iscrowd (int): 1 if training and evaluation ignore it.
        """
        left, top, right, bottom = corners
        bbox = box_inside(corners, image['width'], image['height'])
        if bbox is None:
            self.notes.add('boxes of less than a pixel inside the image, '
                           'left out', where)
            self._left_out.append(f'{where}: {list(corners)} in an image of '
                                  f'{image["width"]}x{image["height"]}')
            return
        x, y, w, h = bbox
        if [x, y, w, h] != [left, top, right - left, bottom - top]:
            self.notes.add('boxes that reach outside the image, cut at its '
                           'border', where)
        self.annotations.append(dict(
            id=len(self.annotations) + 1, image_id=image['id'],
            category_id=category_id, bbox=[x, y, w, h], area=w * h,
            iscrowd=iscrowd))

    def finish(self, categories: Sequence[Mapping]) -> dict:
        """The COCO dict.

        Args:
            categories (Sequence[Mapping]): Its classes.

        Raises:
            ValueError: If there were boxes and every one was left out.
        """
        if self._left_out and not self.annotations:
            raise ValueError(
                f'none of the {len(self._left_out)} boxes in {self.source} '
                'covers a pixel of its image, e.g. '
                f'{self._left_out[0]}. The coordinates are in another unit '
                'or order than the format says.')
        return dict(images=self.images, annotations=self.annotations,
                    categories=[dict(c) for c in categories])


def box_inside(corners: Sequence[float], width: int,
               height: int) -> Optional[tuple]:
    """The part of a box that is inside an image.

    Args:
        corners (Sequence[float]): Left, top, right and bottom in pixels.
        width, height (int): Of the image.

    Returns:
        tuple[float, float, float, float]: x, y, width and height; None if it
        has less than a pixel, where mmdet would drop it
        (``CocoDataset.parse_data_info``).
    """
    left, top, right, bottom = corners
    x, y = max(left, 0), max(top, 0)
    w, h = min(right, width) - x, min(bottom, height) - y
    return None if w < 1 or h < 1 else (x, y, w, h)


def categories_of(names: Sequence[str]) -> list[dict]:
    """Category entries of classes; ids count from 1, as in COCO."""
    return [dict(id=i, name=n) for i, n in enumerate(names, 1)]
