"""Scorers: a model and images in, one number per image out."""
from .base import BaseScorer
from .data import Batch, ScoringData, Split, plan_batches, scoring_pipeline
from .influence_scorer import InfluenceScorer
from .loop import score_pool
from .random_scorer import RandomScorer
from .scores import Scores

__all__ = [
    'BaseScorer', 'Batch', 'InfluenceScorer', 'RandomScorer', 'ScoringData',
    'Scores', 'Split', 'plan_batches', 'score_pool', 'scoring_pipeline'
]
