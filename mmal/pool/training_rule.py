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

    def reasons(self, annotations: Iterable[Mapping],
                images: Mapping[ImageId, Mapping]) -> dict[str, np.ndarray]:
        """Why annotations are not trained on.

        As ``CocoDataset.parse_data_info`` and ``filter_data`` of mmdet 3.3
        decide.

        Args:
            annotations (iterable[dict]): N canonical annotations.
            images (Mapping): Image entries by id.

        Returns:
            dict[str, np.ndarray]: Reason to bool [N]; an annotation may have
            several.
        """
        annotations = list(annotations)
        rows = [(*a['bbox'], a['area'], images[a['image_id']]['width'],
                 images[a['image_id']]['height']) for a in annotations]
        table = np.array(rows, np.float64).reshape(-1, 7)
        starts, sides, limits = table[:, :2], table[:, 2:4], table[:, 5:]
        inside = np.minimum(starts + sides, limits) - np.maximum(starts, 0)
        known = [a['category_id'] in self.classes for a in annotations]
        reasons = {
            'crowd regions': _flags(a.get('iscrowd') for a in annotations),
            'a side below one pixel': (sides < 1).any(1),
            'outside the image': (inside <= 0).any(1),
            'area of 0': table[:, 4] <= 0,
            'of a class that is not trained': ~_flags(known),
            f'on an image with a side below min_size={self.min_size}':
            limits.min(1, initial=np.inf) < self.min_size,
        }
        # those that are marked for one of these reasons are not counted twice
        marked = _flags(a.get('ignore') for a in annotations)
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


def _flags(values: Iterable) -> np.ndarray:
    return np.array([bool(v) for v in values], bool)


def ignore_untrained(annotations: Iterable[dict],
                     images: Mapping[ImageId, Mapping],
                     rule: TrainingRule) -> dict[str, int]:
    """Mark what mmdet would leave out without a word as ``ignore``.

    Training does not change by it, and from then on everybody who counts
    boxes counts those that are trained on.

    Args:
        annotations (iterable[dict]): Canonical annotations, changed in place.
        images (Mapping): Image entries by id.
        rule (TrainingRule): Of the data set.

    Returns:
        dict[str, int]: Reason to the number of annotations, where not 0.
    """
    annotations = list(annotations)
    reasons = rule.reasons(annotations, images)
    for reason, flags in reasons.items():
        # crowd regions are read by mmdet: as regions to be left in peace
        if reason != 'crowd regions':
            for row in np.flatnonzero(flags):
                annotations[row]['ignore'] = 1
    return {k: int(v.sum()) for k, v in reasons.items() if v.any()}


def check_boxes(coco: CocoData) -> None:
    """Refuse files whose boxes are of another kind altogether.

    Args:
        coco (CocoData): A canonical file.

    Raises:
        ValueError: If the boxes seem to be shares of the image, or corners
            instead of sides; the message gives an example.
    """
    pairs = [(a, coco.images[i]) for i, rows in coco.annotations.items()
             for a in rows]
    if not pairs:
        return
    boxes = np.array([a['bbox'] for a, _ in pairs], np.float64)
    limits = np.array([(i['width'], i['height']) for _, i in pairs],
                      np.float64)
    first = pairs[0][0]
    example = f'annotation {first["id"]!r} has {first["bbox"]}'
    if (boxes <= 1).all() and (boxes[:, 2:] < 1).all():
        raise ValueError(
            f'no box of {coco.path} is as large as a pixel ({example}): they '
            'seem to be shares of the image. A "bbox" is [x, y, width, '
            'height] in pixels: multiply by the width and height of the '
            'image.')
    ends = boxes[:, :2] + boxes[:, 2:]
    beyond = (ends > limits + 1).any(1)
    as_corners = (boxes[:, 2:] > boxes[:, :2]).all(1) & (
        boxes[:, 2:] <= limits + 1).all(1)
    if beyond.mean() > _MOST and as_corners.mean() > 0.95:
        wrong = pairs[int(np.flatnonzero(beyond)[0])][0]
        raise ValueError(
            f'{int(beyond.sum()):,} of {len(boxes):,} boxes of {coco.path} '
            f'reach beyond their image (annotation {wrong["id"]!r} has '
            f'{wrong["bbox"]}), but would not if they were [x1, y1, x2, y2]. '
            'A "bbox" is [x, y, width, height]: write x2 - x1 and y2 - y1.')
