"""Selectors: scores and a budget in, image ids out."""
from .base import BaseSelector, ImageId, ScoresLike, best_first, check_count
from .top_n import TopN

__all__ = [
    'BaseSelector', 'ImageId', 'ScoresLike', 'TopN', 'best_first',
    'check_count'
]
