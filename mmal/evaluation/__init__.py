"""Learning curves, selections, uncertainties and calibration as numbers."""
from .ab import ABSplit, Spread, ab_split, relative_change, spread
from .calibration import (
    CalibrationData,
    Reliability,
    expected_calibration_error,
    gaussian_nll,
    interval_coverage,
    match_to_truth,
    reliability,
)
from .detection_calibration import (
    LRP,
    MatchedDetections,
    detection_ece,
    laace,
    laece,
    lrp,
    match_image,
    optimal_lrp,
)
from .learning_curve import Saving, area_under_curve, cost_needed, saving
from .paired import PairedDifference, paired_difference
from .selected_boxes import SIZES, SelectedBoxes, largest_overlaps
from .selection_overlap import highest, overlap_matrix, shared_percent
from .uncertainty_shift import (
    Detections,
    Shift,
    match_detections,
    uncertainty_shift,
)

__all__ = [
    'ABSplit', 'CalibrationData', 'Detections', 'LRP', 'MatchedDetections',
    'PairedDifference', 'Reliability', 'SIZES', 'Saving', 'SelectedBoxes',
    'Shift', 'Spread', 'ab_split', 'area_under_curve', 'cost_needed',
    'detection_ece', 'expected_calibration_error', 'gaussian_nll', 'highest',
    'interval_coverage', 'laace', 'laece', 'largest_overlaps', 'lrp',
    'match_detections', 'match_image', 'match_to_truth', 'optimal_lrp',
    'overlap_matrix', 'paired_difference', 'relative_change', 'reliability',
    'saving', 'shared_percent', 'spread', 'uncertainty_shift'
]
