"""Detections compared with the truth, and what this says of a detector."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .calibration import (
    LEVELS,
    expected_calibration_error,
    gaussian_nll,
    interval_coverage,
)
from .detection_calibration import (
    MatchedDetections,
    detection_ece,
    laace,
    laece,
    optimal_lrp,
)
from .detection_quality import DetectionQuality
from .gaussian_mixtures import MixtureScores, gaussian_crps
from .joined import JoinedArrays, no_rows

# columns of MatchedDetections.places, and the grid of D-ECE over them: cells
# with fewer detections tell little of precision
_PLACES = dict(position=(0, 1), size=(2, 3))
_PLACE_BINS, _PLACE_COUNT = 5, 8


@dataclass
class CalibrationData(JoinedArrays):
    """Detections of some images compared with the truth.

    Args:
        confidences (np.ndarray): float64 [n], their scores.
        correct (np.ndarray): bool [n], whether each found an object.
        errors (np.ndarray): float64 [m, 4]: x1, y1, x2, y2 of the objects
            found minus those of their detections, in pixels.
        stds (np.ndarray): float64 [m, 4], predicted; m is the number of
            correct detections with a predicted std, none of a plain head.
        matches (MatchedDetections): The n detections with their overlaps and
            classes.
        overlaps (MatchedDetections): Detections matched at any overlap.
        mixtures (MixtureScores): Of the same m boxes, if the head gives its
            mixtures, else of none.
        quality (DetectionQuality): PDQ's pairs; none if it was not asked for.
    """
    confidences: np.ndarray = no_rows()
    correct: np.ndarray = no_rows(dtype=bool)
    errors: np.ndarray = no_rows(4)
    stds: np.ndarray = no_rows(4)
    matches: MatchedDetections = field(default_factory=MatchedDetections)
    overlaps: MatchedDetections = field(default_factory=MatchedDetections)
    mixtures: MixtureScores = field(default_factory=MixtureScores)
    quality: DetectionQuality = field(default_factory=DetectionQuality)

    @property
    def has_boxes(self) -> bool:
        """Whether the detector tells how sure it is of boxes."""
        return len(self.errors) > 0

    @property
    def has_mixtures(self) -> bool:
        """Whether it tells the mixtures that boxes come from."""
        return len(self.mixtures.nll) > 0

    def summary(self,
                bins: int = 15,
                levels: Sequence[float] = LEVELS,
                iou_thr: float = 0.5) -> dict[str, float]:
        """The numbers of :class:`mmal.evaluation.CalibrationMetric`.

        Args:
            bins (int): Of the expected calibration error.
            levels (sequence[float]): Nominal coverages of the intervals.
            iou_thr (float): Of the matching.

        Returns:
            dict[str, float]: Without those that cannot be known.
        """
        numbers = dict(detections=float(len(self.confidences)),
                       matched=float(self.correct.sum()))
        if len(self.confidences):
            numbers['ece'] = expected_calibration_error(
                self.confidences, self.correct, bins)
            numbers['overconfidence'] = float(self.confidences.mean() -
                                              self.correct.mean())
        numbers.update(self._of_scores(iou_thr))
        if self.has_boxes:
            numbers['box_nll'] = float(
                gaussian_nll(self.errors, self.stds).mean())
            numbers['box_crps'] = float(
                gaussian_crps(self.errors, self.stds).mean())
            coverage = interval_coverage(self.errors, self.stds, levels)
            numbers.update(_named('coverage', levels, coverage))
            numbers['box_std'] = float(self.stds.mean())
            numbers['box_rmse'] = float(np.sqrt((self.errors**2).mean()))
        if self.has_mixtures:
            numbers['mixture_nll'] = float(self.mixtures.nll.mean())
            numbers['mixture_crps'] = float(self.mixtures.crps.mean())
            numbers.update(_named('mixture_coverage', levels,
                                  self.mixtures.coverage(levels)))
        numbers.update(self.quality.summary())
        return {k: v for k, v in numbers.items() if math.isfinite(v)}

    def _of_scores(self, iou_thr: float) -> dict[str, float]:
        """What scores, overlaps and classes say; NaN where it is unknown."""
        numbers = dict(laece=laece(self.overlaps), laace=laace(self.overlaps))
        places = self.matches.places
        if np.isfinite(places).all():
            for name, columns in _PLACES.items():
                numbers[f'd_ece_{name}'] = detection_ece(
                    self.matches.scores, self.matches.matched,
                    places[:, columns], _PLACE_BINS, _PLACE_COUNT)
        if iou_thr < 1:
            means = optimal_lrp(self.matches, iou_thr).means()
            numbers.update((f'o{name}', value)
                           for name, value in means.items())
        return numbers


def _named(prefix: str, levels: Sequence[float],
           shares: np.ndarray) -> dict[str, float]:
    """Coverages by the name of their level in percent."""
    return {f'{prefix}_{100 * level:g}': float(share)
            for level, share in zip(levels, shares)}
