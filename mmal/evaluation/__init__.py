"""Learning curves, selections, uncertainties and calibration as numbers."""
from .ab import ABSplit, Spread, ab_split, relative_change, spread
from .calibration import (
    Reliability,
    expected_calibration_error,
    gaussian_nll,
    interval_coverage,
    match_to_truth,
    reliability,
)
from .calibration_data import CalibrationData
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
from .detection_quality import (
    DetectionQuality,
    detection_quality,
    spatial_quality,
)
from .gaussian_mixtures import (
    MixtureScores,
    gaussian_crps,
    mixture_cdf,
    mixture_crps,
    mixture_nll,
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
    'ABSplit', 'CalibrationData', 'DetectionQuality', 'Detections', 'LRP',
    'MatchedDetections', 'MixtureScores', 'PairedDifference', 'Reliability',
    'SIZES', 'Saving', 'SelectedBoxes', 'Shift', 'Spread', 'ab_split',
    'area_under_curve', 'cost_needed', 'detection_ece', 'detection_quality',
    'expected_calibration_error', 'gaussian_crps', 'gaussian_nll', 'highest',
    'interval_coverage', 'laace', 'laece', 'largest_overlaps', 'lrp',
    'match_detections', 'match_image', 'match_to_truth', 'mixture_cdf',
    'mixture_crps', 'mixture_nll', 'optimal_lrp', 'overlap_matrix',
    'paired_difference', 'relative_change', 'reliability', 'saving',
    'shared_percent', 'spatial_quality', 'spread', 'uncertainty_shift'
]
