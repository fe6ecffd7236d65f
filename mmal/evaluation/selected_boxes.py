"""How large the boxes of images are, and how far they overlap."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# COCO's sizes of objects, and the areas in pixels² from which on the later
# ones count
SIZES = ('small', 'medium', 'large')
SIZE_BORDERS = (32**2, 96**2)


@dataclass(frozen=True)
class SelectedBoxes:
    """The boxes of some images, n in all.

    Args:
        images (int): How many images they are of, those without boxes too.
        areas (np.ndarray): float64 [n], width times height in pixels².
        shares (np.ndarray): float64 [n], area as a share of the image.
        overlaps (np.ndarray): float64 [n] in [0, 1], the largest IoU with
            another box of the image; 0 where it has no other.

    Examples:
        >>> boxes = [[0, 0, 10, 10], [0, 5, 10, 10], [0, 0, 50, 80]]
        >>> found = SelectedBoxes.of(boxes, [0, 0, 1], [[100, 100], [50, 80]])
        >>> found.per_image, found.shares.tolist(), found.size_shares.tolist()
        (1.5, [0.01, 0.01, 1.0], [0.6666666666666666, 0.3333333333333333, 0.0])
        >>> found.overlaps.round(3).tolist()
        [0.333, 0.333, 0.0]
    """
    images: int
    areas: np.ndarray
    shares: np.ndarray
    overlaps: np.ndarray

    @classmethod
    def of(cls, boxes: np.ndarray, images: np.ndarray,
           sizes: np.ndarray) -> SelectedBoxes:
        """Measure boxes.

        Args:
            boxes (np.ndarray): [n, 4], x, y, width and height in pixels.
            images (np.ndarray): [n], positions of their images in ``sizes``.
            sizes (np.ndarray): [m, 2], width and height of the images.
        """
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        sizes = np.asarray(sizes, np.float64).reshape(-1, 2)
        images = np.asarray(images, np.int64)
        areas = boxes[:, 2:].prod(1)
        return cls(
            len(sizes), areas, areas / sizes.prod(1)[images],
            largest_overlaps(boxes, images))

    @property
    def per_image(self) -> float:
        """Boxes of an image, on average; NaN without an image."""
        return len(self.areas) / self.images if self.images else np.nan

    @property
    def size_shares(self) -> np.ndarray:
        """Which share of the boxes has each of ``SIZES``, [3]; NaN without a
        box."""
        if not len(self.areas):
            return np.full(len(SIZES), np.nan)
        kind = np.searchsorted(SIZE_BORDERS, self.areas, side='right')
        return np.bincount(kind, minlength=len(SIZES)) / len(kind)


def largest_overlaps(boxes: np.ndarray, images: np.ndarray) -> np.ndarray:
    """The largest IoU of each box with another one of its image.

    Args:
        boxes (np.ndarray): [n, 4], x, y, width and height.
        images (np.ndarray): int [n], which image each is of.

    Returns:
        np.ndarray: float64 [n]; 0 for a box that is alone.
    """
    if not len(boxes):
        return np.zeros(0)
    order = np.argsort(images, kind='stable')
    _, start, inverse, count = np.unique(
        images[order], return_index=True, return_inverse=True,
        return_counts=True)
    # every box with every box of its image, itself among them
    partners = count[inverse]
    first = np.repeat(np.arange(len(boxes)), partners)
    begin = np.cumsum(partners) - partners
    second = start[inverse][first] + np.arange(len(first)) - begin[first]

    corner, side = boxes[order, :2], boxes[order, 2:]
    end = corner + side
    inner = np.minimum(end[first], end[second]) - np.maximum(
        corner[first], corner[second])
    inner = inner.clip(min=0).prod(1)
    area = side.prod(1)
    union = area[first] + area[second] - inner
    iou = np.divide(inner, union, out=np.zeros_like(inner), where=union > 0)
    iou[first == second] = 0
    out = np.empty(len(boxes))
    out[order] = np.maximum.reduceat(iou, begin)
    return out
