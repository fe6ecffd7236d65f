"""Selectors: scores and a budget in, image ids out."""
from .base import BaseSelector, ImageId, ScoresLike, best_first, check_count
from .core_set import CoreSet
from .processes import Alone, Processes, ProcessGroup
from .top_n import TopN

__all__ = [
    'Alone', 'BaseSelector', 'CoreSet', 'ImageId', 'ProcessGroup',
    'Processes', 'ScoresLike', 'TopN', 'best_first', 'check_count'
]
