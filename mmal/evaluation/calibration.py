"""Do scores tell how often detections are right, and box intervals how far
off they are?

Guo et al., "On Calibration of Modern Neural Networks" (2017), eq. 3 and
figure 1 for the classes; Kuleshov et al., "Accurate Uncertainties for Deep
Learning Using Calibrated Regression" (2018), section 3 for the boxes.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from .uncertainty_shift import box_iou

LEVELS = (0.5, 0.9, 0.95)
FALSE_ALARM, IGNORED = -1, -2
_MIN_STD = 1e-3  # pixels; keeps the likelihood of a sure box finite


@dataclass
class Reliability:
    """Detections by bins of equal width of their confidence.

    Args:
        edges (np.ndarray): float64 [M + 1] from 0 to 1. A bin has its upper
            edge, the first one 0 too.
        counts (np.ndarray): int64 [M].
        confidence (np.ndarray): float64 [M], the mean of each bin; 0 if empty.
        accuracy (np.ndarray): float64 [M] in [0, 1], the share that is right;
            0 if empty.
    """
    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error in [0, 1]; 0 without detections."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float(gaps @ self.counts / max(self.counts.sum(), 1))


def reliability(confidences: np.ndarray,
                correct: np.ndarray,
                bins: int = 15) -> Reliability:
    """Compare confidence and accuracy bin by bin.

    Args:
        confidences (np.ndarray): [n] in [0, 1].
        correct (np.ndarray): bool [n].
        bins (int): M >= 1.

    Raises:
        ValueError: If a confidence is not in [0, 1], or ``bins`` is below 1.
    """
    check_bins(bins)
    confidences = check_confidences(confidences)
    # a bin has its upper edge, so that a score of 1 needs no bin of its own
    edges = np.linspace(0, 1, bins + 1)
    index = np.searchsorted(edges[1:-1], confidences, side='left')
    counts = np.bincount(index, minlength=bins)
    sums = [np.bincount(index, weights=np.asarray(w, np.float64),
                        minlength=bins) for w in (confidences, correct)]
    return Reliability(edges, counts, *(s / counts.clip(1) for s in sums))


def expected_calibration_error(confidences: np.ndarray,
                               correct: np.ndarray,
                               bins: int = 15) -> float:
    """Mean distance of confidence and accuracy over bins (Guo, eq. 3).

    Args:
        confidences (np.ndarray): [n] in [0, 1].
        correct (np.ndarray): bool [n].
        bins (int): How many, of equal width.

    Returns:
        float: In [0, 1]; 0 without detections.

    Raises:
        ValueError: See :func:`reliability`.

    Examples:
        >>> expected_calibration_error([0.9, 0.9, 0.9, 0.9], [1, 1, 0, 0])
        0.4
    """
    return reliability(confidences, correct, bins).error


def gaussian_nll(errors: np.ndarray, stds: np.ndarray) -> np.ndarray:
    """-log N(error; 0, std²) of each number.

    Args:
        errors (np.ndarray): True minus predicted, any shape, pixels.
        stds (np.ndarray): Of the prediction, the same shape; below 0.001
            pixels they count as that.

    Returns:
        np.ndarray: float64, in nats (of a density per pixel).

    Raises:
        ValueError: If an error or a std is not finite, or a std is negative.

    Examples:
        >>> gaussian_nll([2.0], [2.0]).round(4)
        array([2.1121])
    """
    errors, stds = check_gaussians(errors, stds)
    half = (errors / stds)**2 / 2
    return half + np.log(stds) + np.log(2 * np.pi) / 2


def interval_coverage(errors: np.ndarray,
                      stds: np.ndarray,
                      levels: Sequence[float] = LEVELS) -> np.ndarray:
    """How often central intervals of Gaussians hold the truth.

    Args:
        errors (np.ndarray): True minus predicted, any shape.
        stds (np.ndarray): Of the prediction, the same shape.
        levels (sequence[float]): L nominal coverages in (0, 1).

    Returns:
        np.ndarray: float64 [L] in [0, 1], equal to ``levels`` if calibrated;
        0 without errors.

    Raises:
        ValueError: If a level is not in (0, 1), or see :func:`gaussian_nll`.

    Examples:
        >>> interval_coverage([0.5, 1.0, -3.0, 0.1], [1.0] * 4, [0.5])
        array([0.5])
    """
    check_levels(levels)
    errors, stds = check_gaussians(errors, stds)
    z = np.sort(np.abs(errors / stds).reshape(-1))
    half_widths = [NormalDist().inv_cdf((1 + level) / 2) for level in levels]
    inside = np.searchsorted(z, half_widths, side='right')
    return inside / max(len(z), 1)


def match_to_truth(boxes: np.ndarray,
                   labels: np.ndarray,
                   scores: np.ndarray,
                   true_boxes: np.ndarray,
                   true_labels: np.ndarray,
                   ignored: np.ndarray,
                   iou_thr: float = 0.5) -> np.ndarray:
    """Which object each detection of an image found, as COCO counts.

    The highest score first, a detection finds the object of its class that it
    overlaps most and that none before it has found; of equal ones the last.

    Args:
        boxes (np.ndarray): [n, 4], x1, y1, x2, y2.
        labels (np.ndarray): int [n].
        scores (np.ndarray): [n]; equal ones go by position.
        true_boxes (np.ndarray): [t, 4].
        true_labels (np.ndarray): int [t].
        ignored (np.ndarray): bool [t], crowds and the like: what overlaps
            none but one of these neither is right nor wrong. Any number may,
            and their overlap is the share of the detection in them.
        iou_thr (float): The lowest IoU that counts, in (0, 1].

    Returns:
        np.ndarray: int64 [n], positions of objects; -1 for a false alarm and
        -2 for what is to be left out.
    """
    overlaps = np.where(ignored, _share_inside(boxes, true_boxes),
                        box_iou(boxes, true_boxes))
    # COCO's own bound, below which an IoU of 1 that was rounded still is 1
    fits = (np.asarray(labels)[:, None] == np.asarray(true_labels)[None]) & (
        overlaps >= min(iou_thr, 1 - 1e-10))
    free = ~np.asarray(ignored, dtype=bool)
    match = np.where((fits & ~free).any(1), IGNORED, FALSE_ALARM)
    for i in np.argsort(-np.asarray(scores), kind='stable'):
        candidates = np.flatnonzero(fits[i] & free)
        if len(candidates):
            # from the back: COCO takes the last of objects that overlap alike
            candidates = candidates[::-1]
            best = candidates[overlaps[i, candidates].argmax()]
            match[i], free[best] = best, False
    return match


def _share_inside(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Share of each box [n] in each region [m]; 0 for one without area."""
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    regions = np.asarray(regions, dtype=np.float64).reshape(-1, 4)
    low = np.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    shared = (high - low).clip(0).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(-1)[:, None]
    return np.divide(shared, area, out=np.zeros_like(shared),
                     where=np.broadcast_to(area > 0, shared.shape))


def check_confidences(confidences: np.ndarray) -> np.ndarray:
    """Scores as probabilities.

    Args:
        confidences (np.ndarray): [n].

    Returns:
        np.ndarray: float64 [n] in [0, 1].

    Raises:
        ValueError: If one is not in [0, 1].
    """
    confidences = np.asarray(confidences, dtype=np.float64)
    # the limit leaves room for sums of probabilities that were rounded; a
    # NaN fails both comparisons
    if not ((confidences >= 0) & (confidences < 1 + 1e-5)).all():
        raise ValueError(
            'calibration: a confidence is not in [0, 1]: the scores of '
            'detections must be probabilities.')
    return confidences.clip(max=1)


def check_bins(bins: int) -> None:
    """Raises ValueError unless ``bins`` is a number from 1 on."""
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 1:
        raise ValueError(f'calibration: bins is {bins!r}: give how many bins '
                         'of confidence there are, at least 1.')


def check_levels(levels: Sequence[float]) -> None:
    """Raises ValueError unless all ``levels`` are in (0, 1)."""
    for level in levels:
        if not 0 < level < 1:
            raise ValueError(f'calibration: {level} in levels is no coverage '
                             'of an interval: give numbers in (0, 1).')


def check_gaussians(errors: np.ndarray,
                    stds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Errors and standard deviations as numbers to compute with.

    Args:
        errors (np.ndarray): Any shape.
        stds (np.ndarray): The same shape.

    Returns:
        tuple[np.ndarray]: Both as float64, the latter at least 0.001.

    Raises:
        ValueError: If one is not finite, or a standard deviation negative.
    """
    errors, stds = (np.asarray(x, dtype=np.float64) for x in (errors, stds))
    fine = np.isfinite(errors).all() and np.isfinite(stds).all()
    if not fine or (stds < 0).any():
        raise ValueError(
            'calibration: an error or a standard deviation of a box is not '
            'finite, or a standard deviation is negative: look at bboxes and '
            'box_std of the detections.')
    return errors, stds.clip(_MIN_STD)
