"""Statistics of learning curves, of selections and of uncertainties."""
from .learning_curve import area_under_curve, cost_needed
from .selection_overlap import highest, overlap_matrix
from .uncertainty_shift import (
    Detections,
    Shift,
    match_detections,
    uncertainty_shift,
)

__all__ = [
    'Detections', 'Shift', 'area_under_curve', 'cost_needed', 'highest',
    'match_detections', 'overlap_matrix', 'uncertainty_shift'
]
