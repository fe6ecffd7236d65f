"""Calibration and quality of scores by the overlap of what was found.

- D-ECE: Küppers et al., "Multivariate Confidence Calibration for Object
  Detection" (CVPR Workshops 2020).
- LaECE and LaACE: Oksuz et al., "Towards Building Self-Aware Object Detectors
  via Reliable Uncertainty Quantification and Calibration" (CVPR 2023), and
  Kuzucu et al., "On Calibration of Object Detectors: Pitfalls, Evaluation and
  Baselines" (ECCV 2024).
- LRP: Oksuz et al., "Localization Recall Precision (LRP): A New Performance
  Metric for Object Detection" (ECCV 2018), and "One Metric to Measure Them
  All" (TPAMI 2021).

Match image by image, join, measure::

    detections = MatchedDetections.join(
        match_image(boxes, labels, scores, true_boxes, true_labels, ignored,
                    iou_thr=0)
        for boxes, labels, ... in images)
    laece(detections)
    # other scores of the same detections, in the same order
    laece(dataclasses.replace(detections, scores=calibrated))
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional, Union

import numpy as np

from .calibration import (
    FALSE_ALARM,
    IGNORED,
    check_bins,
    check_confidences,
    match_to_truth,
)
from .joined import JoinedArrays, no_rows
from .uncertainty_shift import box_iou

# an IoU threshold of 0 asks for any overlap at all, not for none
_ANY_OVERLAP = np.nextafter(0, 1)


@dataclass
class MatchedDetections(JoinedArrays):
    """Detections of some images, and the objects that they had to find.

    Detections on ignored objects alone are left out, and so are these.

    Args:
        scores (np.ndarray): float64 [n] in [0, 1].
        labels (np.ndarray): int64 [n].
        matched (np.ndarray): bool [n], whether each found an object.
        ious (np.ndarray): float64 [n] in [0, 1], with the object found; 0
            where ``matched`` is not.
        places (np.ndarray): float64 [n, 4], centre x, centre y, width and
            height, divided by those of the image; NaN if its size was not
            given.
        true_labels (np.ndarray): int64 [t], of all objects.
    """
    scores: np.ndarray = no_rows()
    labels: np.ndarray = no_rows(dtype=np.int64)
    matched: np.ndarray = no_rows(dtype=bool)
    ious: np.ndarray = no_rows()
    places: np.ndarray = no_rows(4)
    true_labels: np.ndarray = no_rows(dtype=np.int64)

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def of(cls,
           match: np.ndarray,
           boxes: np.ndarray,
           labels: np.ndarray,
           scores: np.ndarray,
           true_boxes: np.ndarray,
           true_labels: np.ndarray,
           ignored: np.ndarray,
           size: Optional[tuple[float, float]] = None) -> MatchedDetections:
        """Of an image whose detections are matched already.

        Args:
            match (np.ndarray): int64 [n], of :func:`match_to_truth`.
            boxes (np.ndarray): And the others, see :func:`match_image`.
        """
        counted = np.asarray(match) != IGNORED
        boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)[counted]
        match = np.asarray(match)[counted]
        hits = match > FALSE_ALARM

        ious = np.zeros(len(match))
        overlaps = box_iou(boxes[hits], true_boxes)
        ious[hits] = overlaps[np.arange(len(overlaps)), match[hits]]
        centres, extents = ((boxes[:, 2:] + boxes[:, :2]) / 2,
                            boxes[:, 2:] - boxes[:, :2])
        unit = np.tile((np.nan, np.nan) if size is None else size, 2)
        return cls(
            scores=np.asarray(scores, np.float64)[counted],
            labels=np.asarray(labels, np.int64)[counted],
            matched=hits,
            ious=ious,
            places=np.concatenate([centres, extents], 1) / unit,
            true_labels=np.asarray(true_labels, np.int64)[
                ~np.asarray(ignored, dtype=bool)])

    def of_class(self, label: int) -> MatchedDetections:
        """What belongs to one class, in the same order."""
        kept = self.labels == label
        return MatchedDetections(
            self.scores[kept], self.labels[kept], self.matched[kept],
            self.ious[kept], self.places[kept],
            self.true_labels[self.true_labels == label])

    def by_class(self) -> list[MatchedDetections]:
        """Of each class that has objects, in ascending order of labels.

        A class without any cannot be found; the papers, as COCO, leave it out.
        """
        return [self.of_class(label) for label in np.unique(self.true_labels)]


def match_image(boxes: np.ndarray,
                labels: np.ndarray,
                scores: np.ndarray,
                true_boxes: np.ndarray,
                true_labels: np.ndarray,
                ignored: np.ndarray,
                iou_thr: float = 0.5,
                size: Optional[tuple[float, float]] = None
                ) -> MatchedDetections:
    """Match the detections of an image as COCO does it.

    Args:
        boxes (np.ndarray): [n, 4], x1, y1, x2, y2 in pixels.
        labels (np.ndarray): int [n].
        scores (np.ndarray): [n] in [0, 1].
        true_boxes (np.ndarray): [t, 4], in the same image.
        true_labels (np.ndarray): int [t].
        ignored (np.ndarray): bool [t], crowds and the like; see
            :func:`match_to_truth`.
        iou_thr (float): The lowest IoU that counts, in [0, 1]. 0 stands for
            any overlap above 0, as LaECE_0 and LaACE_0 want it.
        size (tuple[float, float], optional): Width and height of the image
            that the boxes are given in, for ``places``.

    Returns:
        MatchedDetections: In the order given, without those left out.

    Raises:
        ValueError: If ``iou_thr`` is out of range.
    """
    check_iou_thr(iou_thr)
    match = match_to_truth(boxes, labels, scores, true_boxes, true_labels,
                           ignored, max(iou_thr, _ANY_OVERLAP))
    return MatchedDetections.of(match, boxes, labels, scores, true_boxes,
                                true_labels, ignored, size)


def detection_ece(scores: np.ndarray,
                  matched: np.ndarray,
                  places: Optional[np.ndarray] = None,
                  bins: Union[int, Sequence[int]] = 20,
                  min_count: int = 1) -> float:
    """D-ECE (Küppers 2020): confidence against precision, bin by bin.

    Bins are cells of a grid over the score and, with ``places``, where the
    box lies and how large it is. Of the score alone it is the expected
    calibration error (:func:`expected_calibration_error`).

    Args:
        scores (np.ndarray): [n] in [0, 1].
        matched (np.ndarray): bool [n].
        places (np.ndarray, optional): [n, D] in [0, 1], as a selection of
            columns of :attr:`MatchedDetections.places`; beyond, they count
            as the border.
        bins (int | sequence[int]): Of equal width, along each of the 1 + D
            axes or one number for all.
        min_count (int): Cells with fewer detections are left out: a cell's
            precision has an error of its own of about 1/(2·sqrt(count)).

    Returns:
        float: In [0, 1], weighted by the counts of the cells that count; NaN
        if none does.

    Raises:
        ValueError: If a score is not in [0, 1], a place is not finite, or
            ``bins`` does not fit.

    Examples:
        >>> scores, matched = [0.5, 0.5, 0.5, 0.5], [1, 1, 0, 0]
        >>> detection_ece(scores, matched)
        0.0
        >>> detection_ece(scores, matched, [[0.1], [0.1], [0.9], [0.9]])
        0.5
    """
    scores = check_confidences(scores)
    matched = np.asarray(matched, dtype=np.float64)
    if places is None:
        places = np.zeros((len(scores), 0))
    places = np.asarray(places, dtype=np.float64)
    if not np.isfinite(places).all():
        raise ValueError('calibration: the place of a box is not finite: give '
                         'the size of the images, and look at bboxes.')
    values = np.concatenate([scores[:, None], places.clip(0, 1)], 1)
    shape = [bins] * values.shape[1] if isinstance(bins, int) else list(bins)
    for count in shape:
        check_bins(count)
    if len(shape) != values.shape[1]:
        raise ValueError(f'calibration: {len(shape)} numbers of bins, but '
                         f'{values.shape[1]} axes: give one of each.')
    cells = np.ravel_multi_index(
        [_bin_of(column, count) for column, count in zip(values.T, shape)],
        shape)
    # only the cells that have detections: a fine grid has very many
    _, cells, counts = np.unique(cells, return_inverse=True,
                                 return_counts=True)
    gaps = np.abs(np.bincount(cells.reshape(-1), weights=scores - matched))
    kept = counts >= min_count
    if not kept.any():
        return float('nan')
    return float(gaps[kept].sum() / counts[kept].sum())


def laece(detections: MatchedDetections, bins: int = 25) -> float:
    """Localisation-aware ECE: confidence against precision times IoU.

    For each class, over bins j of its scores (Oksuz 2023)::

        sum_j n_j / n |mean score_j - precision_j · mean IoU of hits_j|

    and the mean over classes. With matches of ``iou_thr=0`` it is LaECE_0
    (Kuzucu 2024), where each detection that overlaps its object keeps its IoU.

    Args:
        detections (MatchedDetections): Of all images.
        bins (int): Of equal width, for each class.

    Returns:
        float: In [0, 1]; NaN if no class has both objects and detections.

    Raises:
        ValueError: If a score is not in [0, 1], or ``bins`` is below 1.
    """
    check_bins(bins)

    def error(group: MatchedDetections) -> float:
        scores = check_confidences(group.scores)
        # precision times mean IoU of the hits is the mean IoU of all, since
        # false alarms have 0
        gaps = np.bincount(_bin_of(scores, bins), weights=scores - group.ious,
                           minlength=bins)
        return float(np.abs(gaps).sum() / len(group))

    return _mean(
        [error(group) for group in detections.by_class() if len(group)])


def laace(detections: MatchedDetections) -> float:
    """Localisation-aware adaptive calibration error (Kuzucu 2024).

    LaECE whose bins hold one detection each: the mean of |score - IoU| of
    each class, and the mean over classes. There is nothing to choose, but
    what cannot be known of one detection counts as an error too. With matches
    of ``iou_thr=0`` it is LaACE_0.

    Args:
        detections (MatchedDetections): Of all images.

    Returns:
        float: In [0, 1]; NaN if no class has both objects and detections.

    Raises:
        ValueError: If a score is not in [0, 1].
    """
    return _mean([
        float(np.abs(check_confidences(group.scores) - group.ious).mean())
        for group in detections.by_class() if len(group)
    ])


@dataclass
class LRP:
    """Localisation recall precision errors of classes, all in [0, 1].

    Args:
        labels (np.ndarray): int64 [C], the classes that have objects.
        errors (np.ndarray): float64 [C], the LRP error.
        localisation (np.ndarray): float64 [C], mean of 1 - IoU of the hits;
            NaN without hits.
        false_positives (np.ndarray): float64 [C], 1 - precision; NaN without
            detections.
        false_negatives (np.ndarray): float64 [C], 1 - recall.
        thresholds (np.ndarray): float64 [C], the lowest score that counted;
            inf where leaving out all detections is best.
    """
    labels: np.ndarray
    errors: np.ndarray
    localisation: np.ndarray
    false_positives: np.ndarray
    false_negatives: np.ndarray
    thresholds: np.ndarray

    def means(self) -> dict[str, float]:
        """``lrp``, ``lrp_loc``, ``lrp_fp`` and ``lrp_fn`` over classes.

        A class counts where its component is known; NaN if none is.
        """
        values = (self.errors, self.localisation, self.false_positives,
                  self.false_negatives)
        return {name: _mean(v[np.isfinite(v)].tolist())
                for name, v in zip(('lrp', 'lrp_loc', 'lrp_fp', 'lrp_fn'),
                                   values)}


def lrp(detections: MatchedDetections,
        score_thr: float = 0.0,
        iou_thr: float = 0.5) -> LRP:
    """LRP error of the detections with a score of at least ``score_thr``.

    Of each class (TPAMI 2021)::

        (sum over hits of (1 - IoU) / (1 - iou_thr) + FP + FN) /
        (TP + FP + FN)

    Args:
        detections (MatchedDetections): Of all images, matched at ``iou_thr``.
        score_thr (float): The same for all classes.
        iou_thr (float): In [0, 1); the one of the matching.

    Returns:
        LRP: Of each class that has objects.

    Raises:
        ValueError: If ``iou_thr`` is out of range.
    """
    return _lrp(detections, iou_thr, score_thr)


def optimal_lrp(detections: MatchedDetections, iou_thr: float = 0.5) -> LRP:
    """The lowest LRP error of each class over thresholds of the score.

    Args:
        detections (MatchedDetections): Of all images, matched at ``iou_thr``.
        iou_thr (float): In [0, 1); the one of the matching.

    Returns:
        LRP: oLRP and the components at its threshold; of equal errors, the
        highest threshold.

    Raises:
        ValueError: If ``iou_thr`` is out of range.
    """
    return _lrp(detections, iou_thr)


def check_iou_thr(iou_thr: float) -> None:
    """Raises ValueError unless ``iou_thr`` is in [0, 1]."""
    if not 0 <= iou_thr <= 1:
        raise ValueError(f'calibration: iou_thr is {iou_thr}: give a number '
                         'in [0, 1].')


def _lrp(detections: MatchedDetections,
         iou_thr: float,
         score_thr: Optional[float] = None) -> LRP:
    """LRP of each class at a threshold of the score, or at its best one.

    Detections were matched from the highest score on, so those that a
    threshold leaves are matched as if there were no others.
    """
    if not 0 <= iou_thr < 1:
        raise ValueError(f'calibration: iou_thr is {iou_thr}: LRP divides by '
                         '1 - iou_thr, give a number in [0, 1).')
    rows = []
    for group in detections.by_class():
        order = np.argsort(-group.scores, kind='stable')
        scores, matched = group.scores[order], group.matched[order]
        # thresholds above all scores and at each of them; detections with
        # equal scores come and go together
        last = np.flatnonzero(np.diff(scores, append=-np.inf))
        thresholds = np.concatenate([[np.inf], scores[last]])
        count = np.concatenate([[0], last + 1])
        hits = np.concatenate([[0], matched.cumsum()])[count]
        distances = np.where(matched, 1 - group.ious[order], 0.0)
        distance = np.concatenate([[0.0], distances.cumsum()])[count]

        # TP + FP + FN: what was found wrongly, and all objects
        objects = len(group.true_labels)
        total = count - hits + objects
        errors = (distance / (1 - iou_thr) + total - hits) / total
        if score_thr is None:
            i = errors.argmin()
        else:
            i = (thresholds >= score_thr).sum() - 1
        rows.append((
            group.true_labels[0],
            errors[i],
            distance[i] / hits[i] if hits[i] else np.nan,
            1 - hits[i] / count[i] if count[i] else np.nan,
            1 - hits[i] / objects,
            thresholds[i] if score_thr is None else score_thr,
        ))
    columns = np.array(rows, dtype=np.float64).reshape(-1, 6).T
    return LRP(columns[0].astype(np.int64), *columns[1:])


def _bin_of(values: np.ndarray, bins: int) -> np.ndarray:
    """Which of equal bins of [0, 1] each is in; a bin has its upper edge."""
    edges = np.linspace(0, 1, bins + 1)
    return np.searchsorted(edges[1:-1], values, side='left')


def _mean(values: Sequence[float]) -> float:
    """The mean; NaN of nothing."""
    return float(np.mean(values)) if len(values) else float('nan')
