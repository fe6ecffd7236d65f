"""Scores from the class probabilities of every anchor, point or region."""
from .bald_scorer import BALDScorer
from .base import DenseScorer
from .entropy_scorer import EntropyScorer
from .grad_scorer import GradScorer
from .least_confidence_scorer import LeastConfidenceScorer
from .margin_scorer import MarginScorer
from .mutual_information_scorer import MutualInformationScorer
from .probabilities import class_probabilities
from .score_map import score_map

__all__ = [
    'BALDScorer', 'DenseScorer', 'EntropyScorer', 'GradScorer',
    'LeastConfidenceScorer', 'MarginScorer', 'MutualInformationScorer',
    'class_probabilities', 'score_map'
]
