"""Detectors that learn more than to detect, or say more of what they found."""
from .calibrated_detector import Calibrated, calibrated_detector
from .learning_loss_detector import LearningLossDetector

__all__ = ['Calibrated', 'LearningLossDetector', 'calibrated_detector']
