"""How uncertainties of the same objects differ between two sets of detections.

"Deep Active Learning for Object Detection with Mixture Density Networks",
appendix A.4 and table 7: averages over the objects that both sets have in
common.
"""
from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass
class Detections:
    """The detections on one image.

    Args:
        boxes (np.ndarray): [n, 4], x1, y1, x2, y2 in pixels.
        labels (np.ndarray): int [n].
        uncertainties (np.ndarray): float64 [n, U].
    """
    boxes: np.ndarray
    labels: np.ndarray
    uncertainties: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass
class Shift:
    """Mean uncertainties of common detections.

    Args:
        first (np.ndarray): float64 [U], of the first set.
        second (np.ndarray): float64 [U], of the second set.
        common (int): Detections that are in both; the means are NaN without.
        totals (tuple[int, int]): Detections of each set.
    """
    first: np.ndarray
    second: np.ndarray
    common: int
    totals: tuple[int, int]


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes.

    Args:
        first (np.ndarray): [n, 4], x1, y1, x2, y2.
        second (np.ndarray): [m, 4].

    Returns:
        np.ndarray: float64 [n, m] in [0, 1]; 0 for two boxes without area.

    Examples:
        >>> a = np.array([[0, 0, 2, 2]])
        >>> box_iou(a, np.array([[0, 0, 2, 2], [0, 0, 2, 1]])).tolist()
        [[1.0, 0.5]]
    """
    first = np.asarray(first, dtype=np.float64).reshape(-1, 4)
    second = np.asarray(second, dtype=np.float64).reshape(-1, 4)
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clip(0).prod(-1)
    areas = [(b[:, 2:] - b[:, :2]).clip(0).prod(-1) for b in (first, second)]
    union = areas[0][:, None] + areas[1][None] - shared
    # two boxes without area share nothing, rather than NaN
    return np.divide(shared, union, out=np.zeros_like(shared),
                     where=union > 0)


def match_detections(first: Detections,
                     second: Detections,
                     iou_thr: float = 0.5) -> np.ndarray:
    """Pair the detections of two sets, one to one.

    Greedy: of all pairs of one class with at least this IoU the one with the
    highest is taken, then the next of which neither is taken, and so on.
    Equal IoUs go by position.

    Args:
        first (Detections): n detections of an image.
        second (Detections): m detections of it.
        iou_thr (float): The lowest IoU of a pair, in (0, 1].

    Returns:
        np.ndarray: int64 [p, 2], the positions of each pair, the highest IoU
        first.
    """
    iou = box_iou(first.boxes, second.boxes)
    same = first.labels[:, None] == second.labels[None]
    rows, columns = np.nonzero(same & (iou >= iou_thr))
    # stable, so that equal IoUs go by position on every platform
    order = np.argsort(-iou[rows, columns], kind='stable')
    paired_rows, paired_columns, pairs = set(), set(), []
    for row, column in zip(rows[order].tolist(), columns[order].tolist()):
        if row not in paired_rows and column not in paired_columns:
            paired_rows.add(row)
            paired_columns.add(column)
            pairs.append((row, column))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def uncertainty_shift(first: Mapping[Hashable, Detections],
                      second: Mapping[Hashable, Detections],
                      iou_thr: float = 0.5) -> Shift:
    """Average the uncertainties of the detections that two sets share.

    Args:
        first (Mapping[int | str, Detections]): By image id.
        second (Mapping[int | str, Detections]): The same images.
        iou_thr (float): See :func:`match_detections`.

    Returns:
        Shift: Means over all common detections of all images.

    Raises:
        ValueError: If the images differ, there are none, or ``iou_thr`` is
            out of range.
    """
    if not 0 < iou_thr <= 1:
        raise ValueError(f'iou_thr is {iou_thr}: give a number in (0, 1].')
    if not first or first.keys() != second.keys():
        raise ValueError(
            f'two sets of detections on {len(first)} and {len(second)} '
            'images, which are not the same: compare them on equal images.')
    matched = []  # [2, p, U] of the p pairs of each image
    for i in first:
        pairs = match_detections(first[i], second[i], iou_thr)
        matched.append(np.stack([
            first[i].uncertainties[pairs[:, 0]],
            second[i].uncertainties[pairs[:, 1]],
        ]))
    # over all pairs: an image with many objects counts as much as these
    values = np.concatenate(matched, axis=1)
    means = np.full(values.shape[::2], np.nan)
    if values.shape[1]:
        means = values.mean(1)
    totals = tuple(sum(map(len, side.values())) for side in (first, second))
    return Shift(means[0], means[1], values.shape[1], totals)
