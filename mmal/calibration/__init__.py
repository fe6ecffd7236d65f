"""Calibration after training: scores and boxes that mean what they say.

Fitted on detections of images that the detector was not trained on, kept as
numbers in a json file, and applied by
:class:`mmal.models.detectors.CalibratedDetector`.
"""
from .boxes import (
    RULES,
    ConformalBoxes,
    conformal_quantile,
    coverage_band,
    highest_level,
)
from .file import Calibration
from .scores import METHODS, ScoreCalibrator

__all__ = [
    'METHODS', 'RULES', 'Calibration', 'ConformalBoxes', 'ScoreCalibrator',
    'conformal_quantile', 'coverage_band', 'highest_level'
]
