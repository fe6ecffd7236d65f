"""Probability-based detection quality (PDQ).

Hall et al., "Probabilistic Object Detection: Definition and Evaluation" (WACV
2020). A detection says how likely each pixel belongs to its object; a pair of
a detection and an object is as good as the likelihood of the object's pixels.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .joined import JoinedArrays, no_rows

# The paper's own evaluation: pixels less likely than this are no part of a
# detection, no logarithm is below that of _FLOOR, and a spatial quality below
# _NO_QUALITY makes no pair.
_LEAST = 0.0027
_FLOOR = 1e-14
_NO_QUALITY = 1e-8
_SHARP = 1e-6  # pixels; the deviation of an edge that has none


@dataclass
class DetectionQuality(JoinedArrays):
    """Pairs of detections and objects of some images.

    Args:
        overall (np.ndarray): float64 [p] in (0, 1], sqrt(spatial · label).
        spatial (np.ndarray): float64 [p] in (0, 1].
        label (np.ndarray): float64 [p] in (0, 1].
        detections (np.ndarray): int64 [I], how many each image has.
        objects (np.ndarray): int64 [I], likewise.
    """
    overall: np.ndarray = no_rows()
    spatial: np.ndarray = no_rows()
    label: np.ndarray = no_rows()
    detections: np.ndarray = no_rows(dtype=np.int64)
    objects: np.ndarray = no_rows(dtype=np.int64)

    def summary(self) -> dict[str, float]:
        """``pdq``, and ``pdq_spatial`` and ``pdq_label`` of the pairs.

        PDQ is the sum of the pairs' qualities over the number of pairs, of
        detections without an object and of objects without a detection.
        Nothing where there is neither, the latter two only with pairs.
        """
        pairs = len(self.overall)
        # TP + FP + FN
        total = int(self.detections.sum() + self.objects.sum()) - pairs
        numbers = {}
        if total:
            numbers['pdq'] = float(self.overall.sum() / total)
        if pairs:
            numbers['pdq_spatial'] = float(self.spatial.mean())
            numbers['pdq_label'] = float(self.label.mean())
        return numbers


def detection_quality(boxes: np.ndarray, stds: np.ndarray, labels: np.ndarray,
                      scores: np.ndarray, true_boxes: np.ndarray,
                      true_labels: np.ndarray,
                      size: tuple[int, int]) -> DetectionQuality:
    """Pair the detections of an image with its objects, as well as can be.

    The assignment has the largest sum of qualities. The label quality is the
    score, if the labels agree, else 0: a detection of mmdet is of one class.

    Args:
        boxes (np.ndarray): [n, 4], x1, y1, x2, y2 in pixels.
        stds (np.ndarray): [n, 4], of independent Gaussian edges; 0 for boxes
            that are certain.
        labels (np.ndarray): int [n].
        scores (np.ndarray): [n] in [0, 1].
        true_boxes (np.ndarray): [t, 4].
        true_labels (np.ndarray): int [t].
        size (tuple[int, int]): Width and height of the image.

    Returns:
        DetectionQuality: Of one image.
    """
    from scipy.optimize import linear_sum_assignment  # takes a moment

    labels, true_labels = np.asarray(labels), np.asarray(true_labels)
    scores = np.asarray(scores, dtype=np.float64)
    spatial = np.zeros((len(labels), len(true_labels)))
    same = labels[:, None] == true_labels[None]
    # the heat map of a detection that has no object of its class is not asked
    for i in np.flatnonzero(same.any(1)):
        spatial[i, same[i]] = spatial_quality(
            boxes[i], stds[i], true_boxes[same[i]], size)
    label = np.where(same, scores[:, None], 0)
    overall = np.sqrt(spatial * label)
    rows, columns = linear_sum_assignment(overall, maximize=True)
    paired = overall[rows, columns] > 0
    rows, columns = rows[paired], columns[paired]
    return DetectionQuality(overall[rows, columns], spatial[rows, columns],
                            label[rows, columns], np.array([len(labels)]),
                            np.array([len(true_labels)]))


def spatial_quality(box: np.ndarray, std: np.ndarray, true_boxes: np.ndarray,
                    size: tuple[int, int]) -> np.ndarray:
    """How well the heat map of a detection shows each of t objects.

    exp of the mean log likelihood of the object's pixels, to which all other
    pixels of the detection add log(1 - p). A pixel is in the box with the
    probability that all edges are beyond its centre.

    Args:
        box (np.ndarray): [4], x1, y1, x2, y2 in pixels.
        std (np.ndarray): [4], of the edges.
        true_boxes (np.ndarray): [t, 4]; an object's pixels are those whose
            centres are inside, at least one.
        size (tuple[int, int]): Width and height of the image.

    Returns:
        np.ndarray: float64 [t] in [0, 1].
    """
    from scipy.special import ndtr

    # p(x, y) is a product of what x and what y says: one row, one column
    box = np.asarray(box, dtype=np.float64)
    std = np.asarray(std, dtype=np.float64).clip(_SHARP)
    along = []
    for axis in (0, 1):
        centres = np.arange(size[axis]) + 0.5
        along.append(
            ndtr((centres - box[axis]) / std[axis]) *
            ndtr((box[axis + 2] - centres) / std[axis + 2]))
    # beyond this window no pixel is likely enough to count
    windows = [_span(values >= _LEAST) for values in along]
    x, y = (values[slice(*window)] for values, window in zip(along, windows))
    p = y[:, None] * x[None]
    p[p < _LEAST] = 0
    inside = _Sums(np.log(p + _FLOOR) - math.log(_FLOOR), windows)
    outside = _Sums(np.log(1 - p + _FLOOR) * (p > 0), windows)

    first, last = _pixels(true_boxes, size)
    count = (last - first).prod(1)
    # pixels of an object outside the window have the least log likelihood
    foreground = inside.over(first, last) + count * math.log(_FLOOR)
    background = outside.total - outside.over(first, last)
    quality = np.exp((foreground + background) / count).clip(0, 1)
    return np.where(quality > _NO_QUALITY, quality, 0)


class _Sums:
    """Sums of a window of an image over rectangles.

    Args:
        values (np.ndarray): float64 [h, w]; 0 outside.
        windows (sequence[tuple[int, int]]): First and last + 1 of its columns
            and of its rows.
    """

    def __init__(self, values: np.ndarray, windows) -> None:
        self.table = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
        self.table[1:, 1:] = values.cumsum(0).cumsum(1)
        self.corner = np.array([window[0] for window in windows])

    @property
    def total(self) -> float:
        """The sum of all."""
        return self.table[-1, -1]

    def over(self, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """The sums [t] over pixels from ``first`` to before ``last``.

        Args:
            first (np.ndarray): int64 [t, 2], column and row in the image.
            last (np.ndarray): int64 [t, 2].
        """
        limit = np.array(self.table.shape[::-1]) - 1
        x1, y1 = (first - self.corner).clip(0, limit).T
        x2, y2 = (last - self.corner).clip(0, limit).T
        table = self.table
        return table[y2, x2] - table[y1, x2] - table[y2, x1] + table[y1, x1]


def _span(mask: np.ndarray) -> tuple[int, int]:
    """First and last + 1 of the places that are true."""
    places = np.flatnonzero(mask)
    return (places[0], places[-1] + 1) if len(places) else (0, 0)


def _pixels(boxes: np.ndarray, size: tuple[int, int]
            ) -> tuple[np.ndarray, np.ndarray]:
    """First and last + 1 of the columns and rows of boxes, [t, 2] each."""
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    # the pixels whose centres are inside
    edges = np.ceil(boxes - 0.5).astype(np.int64)
    first = np.minimum(edges[:, :2].clip(0), np.array(size) - 1)
    last = np.minimum(edges[:, 2:], size)
    return first, np.maximum(last, first + 1)
