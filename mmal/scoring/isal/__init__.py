"""Influence selection (ISAL): s_test and the influence of each image."""
from .influence_scorer import InfluenceScorer
from .pseudo_label_rule import PseudoLabelRule

__all__ = ['InfluenceScorer', 'PseudoLabelRule']
