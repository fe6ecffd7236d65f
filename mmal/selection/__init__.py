"""Selectors: scores and a budget in, image ids out."""
from .base import (
    BaseSelector,
    ImageId,
    ScoresLike,
    best_first,
    check_count,
    lowest_first,
)
from .bottom_n import BottomN
from .core_set import CoreSet
from .k_means_plus_plus import KMeansPlusPlus
from .plain_scores import PlainScores
from .processes import Alone, Processes, ProcessGroup
from .random_subset import RandomSubset
from .ranking import BaseRanking
from .round_robin import RoundRobin
from .sharing import SharedSelection
from .sparse_modeling import SparseModeling
from .top_bottom import TopBottom
from .top_n import TopN
from .top_third import TopThird

__all__ = [
    'Alone', 'BaseRanking', 'BaseSelector', 'BottomN', 'CoreSet', 'ImageId',
    'KMeansPlusPlus', 'PlainScores', 'ProcessGroup', 'Processes',
    'RandomSubset', 'RoundRobin', 'ScoresLike', 'SharedSelection',
    'SparseModeling', 'TopBottom', 'TopN', 'TopThird', 'best_first',
    'check_count', 'lowest_first'
]
