"""Influence selection (ISAL): s_test and the influence of each image."""
from .calibrated_influence_scorer import CalibratedInfluenceScorer
from .gradient_embedding_scorer import GradientEmbeddingScorer
from .influence_scorer import InfluenceScorer
from .oracle_influence_scorer import OracleInfluenceScorer
from .pseudo_label_rule import PseudoLabelRule

__all__ = [
    'CalibratedInfluenceScorer', 'GradientEmbeddingScorer',
    'InfluenceScorer', 'OracleInfluenceScorer', 'PseudoLabelRule'
]
