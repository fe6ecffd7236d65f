"""Heads that learn something beside detection."""
from .loss_prediction_head import LossPredictionHead

__all__ = ['LossPredictionHead']
