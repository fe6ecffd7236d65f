"""Statistics of learning curves, of selections and of uncertainties."""
from .ab_test import ABSplit, Spread, ab_split, relative_change, spread
from .learning_curve import area_under_curve, cost_needed
from .selection_overlap import highest, overlap_matrix
from .uncertainty_shift import (
    Detections,
    Shift,
    match_detections,
    uncertainty_shift,
)

__all__ = [
    'ABSplit', 'Detections', 'Shift', 'Spread', 'ab_split',
    'area_under_curve', 'cost_needed', 'highest', 'match_detections',
    'overlap_matrix', 'relative_change', 'spread', 'uncertainty_shift'
]
