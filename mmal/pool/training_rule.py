"""What mmdet really trains on of a COCO file.

mmdet leaves out boxes and whole images without a word. Every count in the
product is a count of what remains: of boxes, budgets, plans and reports.
"""
from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from mmal.types import ImageId
from .coco import CocoData
from .columns import AnnotationTable

# above this share of boxes something is wrong with all of them
_MOST = 0.5


@dataclass(frozen=True)
class TrainingRule:
    """Which boxes and images a ``CocoDataset`` keeps.

    Args:
        classes (frozenset[int | str]): Ids of the categories trained on.
        filter_empty_gt (bool): Whether images without annotations of these
            are left out (``filter_cfg``).
        min_size (float): Images with a shorter side in pixels are left out.
    """
    classes: frozenset[ImageId]
    filter_empty_gt: bool = False
    min_size: float = 0

    @classmethod
    def of(cls, dataset: Mapping, coco: CocoData,
           classes: Collection[str]) -> TrainingRule:
        """The rule of a data set config.

        Args:
            dataset (Mapping): Config of a ``CocoDataset``.
            coco (CocoData): Its file.
            classes (collection[str]): The names of its classes.
        """
        filter_cfg = dict(dataset.get('filter_cfg') or {})
        return cls(
            frozenset(c['id'] for c in coco.categories
                      if c['name'] in set(classes)),
            bool(filter_cfg.get('filter_empty_gt', False)),
            filter_cfg.get('min_size', 0))

    def reasons(self, table: AnnotationTable,
                coco: CocoData) -> dict[str, np.ndarray]:
        """Why annotations are not trained on.

        As ``CocoDataset.parse_data_info`` and ``filter_data`` of mmdet 3.3
        decide.

        Args:
            table (AnnotationTable): n canonical annotations.
            coco (CocoData): Their images and categories.

        Returns:
            dict[str, np.ndarray]: Reason to bool [n]; an annotation may have
            several.
        """
        starts, sides = table.boxes[:, :2], table.boxes[:, 2:]
        sizes = coco.sizes
        limits = sizes[table.images]
        inside = np.minimum(starts + sides, limits) - np.maximum(starts, 0)
        known = np.array([c['id'] in self.classes for c in coco.categories],
                         bool)
        small = sizes.min(1, initial=np.inf) < self.min_size
        reasons = {
            'crowd regions': table.crowd,
            'a side below one pixel': (sides < 1).any(1),
            'outside the image': (inside <= 0).any(1),
            'area of 0': table.areas <= 0,
            'of a class that is not trained': ~known[table.categories],
            f'on an image with a side below min_size={self.min_size}':
            small[table.images],
        }
        # those that are marked for one of these reasons are not counted twice
        marked = table.ignored.copy()
        for flags in reasons.values():
            marked &= ~flags
        return {**reasons, 'marked "ignore"': marked}

    def keeps(self, image: Mapping, annotations: Iterable[Mapping]) -> bool:
        """Whether an image is trained on.

        Args:
            image (Mapping): Its entry.
            annotations (iterable[dict]): Its annotations.
        """
        if min(image['width'], image['height']) < self.min_size:
            return False
        return not self.filter_empty_gt or any(
            a['category_id'] in self.classes for a in annotations)


def ignore_untrained(table: AnnotationTable, coco: CocoData,
                     rule: TrainingRule) -> dict[str, int]:
    """Mark what mmdet would leave out without a word as ``ignore``.

    Training does not change by it, and from then on everybody who counts
    boxes counts those that are trained on.

    Args:
        table (AnnotationTable): Canonical annotations; they are marked.
        coco (CocoData): Their images and categories.
        rule (TrainingRule): Of the data set.

    Returns:
        dict[str, int]: Reason to the number of annotations, where not 0.
    """
    reasons = rule.reasons(table, coco)
    for reason, flags in reasons.items():
        # crowd regions are read by mmdet: as regions to be left in peace
        if reason != 'crowd regions':
            table.ignore(flags)
    return {k: int(v.sum()) for k, v in reasons.items() if v.any()}


def check_boxes(coco: CocoData) -> None:
    """Refuse files whose boxes are of another kind altogether.

    Args:
        coco (CocoData): A canonical file.

    Raises:
        ValueError: If the boxes seem to be shares of the image, or corners
            instead of sides; the message gives an example.
    """
    table = coco.table()
    if not len(table):
        return
    boxes, limits = table.boxes, coco.sizes[table.images]

    def example(n: int) -> str:
        id = coco.ids[table.images[n]]
        row = next(a for a in coco.annotations[id]
                   if a['bbox'] == boxes[n].tolist())
        return f'annotation {row["id"]!r} has {row["bbox"]}'

    if (boxes <= 1).all() and (boxes[:, 2:] < 1).all():
        raise ValueError(
            f'no box of {coco.path} is as large as a pixel ({example(0)}): '
            'they seem to be shares of the image. A "bbox" is [x, y, width, '
            'height] in pixels: multiply by the width and height of the '
            'image.')
    ends = boxes[:, :2] + boxes[:, 2:]
    beyond = (ends > limits + 1).any(1)
    as_corners = (boxes[:, 2:] > boxes[:, :2]).all(1) & (
        boxes[:, 2:] <= limits + 1).all(1)
    if beyond.mean() > _MOST and as_corners.mean() > 0.95:
        wrong = int(np.flatnonzero(beyond)[0])
        raise ValueError(
            f'{int(beyond.sum()):,} of {len(boxes):,} boxes of {coco.path} '
            f'reach beyond their image ({example(wrong)}), but would not if '
            'they were [x1, y1, x2, y2]. '
            'A "bbox" is [x, y, width, height]: write x2 - x1 and y2 - y1.')
