"""Selectors: scores in, an order of image ids out, drawn lazily.

Plain torch and numpy; nothing of mmengine, mmcv or mmdet is needed.
"""
from .base import BaseSelector, best_first, lowest_first
from .batch_influence import BatchInfluence
from .bottom_n import BottomN
from .category_matching import CategoryMatching, MatchingDistance
from .class_budgets import ClassBudgets
from .class_targets import ClassTargets, Walk
from .clusters import BaseClusterSelector
from .contextual_diversity import ContextualDistance, ContextualDiversity
from .core_set import CoreSet
from .detection_rows import (
    DetectionRows,
    pack_detections,
    unpack_detections,
)
from .diverse_prototypes import DiversePrototypes
from .gradient_matching import GradientMatching
from .greedy_selector import BaseGreedySelector, GreedyRun
from .k_means_centres import KMeansCentres
from .k_means_plus_plus import KMeansPlusPlus
from .prob_cover import ProbCover
from .quota import Quota
from .random_subset import RandomSubset
from .ranking import BaseRanking
from .round_robin import RoundRobin
from .sharing import SharedSelection
from .spacing import Neighbours, Spacing
from .sparse_modeling import SparseModeling
from .top_bottom import TopBottom
from .top_n import TopN
from .top_third import TopThird
from .two_stage import TwoStage
from .typi_clust import TypiClust

__all__ = [
    'BaseClusterSelector', 'BaseGreedySelector', 'BaseRanking', 'BaseSelector',
    'BatchInfluence', 'BottomN', 'CategoryMatching', 'ClassBudgets',
    'ClassTargets', 'ContextualDistance', 'ContextualDiversity', 'CoreSet',
    'DetectionRows', 'DiversePrototypes', 'GradientMatching', 'GreedyRun',
    'KMeansCentres', 'KMeansPlusPlus', 'MatchingDistance', 'Neighbours',
    'ProbCover', 'Quota', 'RandomSubset', 'RoundRobin', 'SharedSelection',
    'Spacing', 'SparseModeling', 'TopBottom', 'TopN', 'TopThird', 'TwoStage',
    'TypiClust', 'Walk', 'best_first', 'lowest_first', 'pack_detections',
    'unpack_detections'
]
