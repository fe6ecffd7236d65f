"""Scores from what a detector finds after NMS."""
from .class_balance_scorer import ClassBalanceScorer
from .class_distribution_embedder import ClassDistributionEmbedder
from .consistency_scorer import ConsistencyScorer
from .detection_entropy_scorer import DetectionEntropyScorer
from .difficulty_calibrated_scorer import DifficultyCalibratedScorer
from .entropy_nms_scorer import EntropyNMSScorer
from .flip_inconsistency_scorer import FlipInconsistencyScorer
from .hierarchical_uncertainty_scorer import HierarchicalUncertaintyScorer
from .localization_stability_scorer import LocalizationStabilityScorer
from .logistic_uncertainty_scorer import LogisticUncertaintyScorer
from .mixture_uncertainty_scorer import MixtureUncertaintyScorer
from .noise import GaussianNoise, noisy_pipeline
from .predict import detect

__all__ = [
    'ClassBalanceScorer', 'ClassDistributionEmbedder', 'ConsistencyScorer',
    'DetectionEntropyScorer', 'DifficultyCalibratedScorer', 'EntropyNMSScorer',
    'FlipInconsistencyScorer', 'GaussianNoise',
    'HierarchicalUncertaintyScorer', 'LocalizationStabilityScorer',
    'LogisticUncertaintyScorer', 'MixtureUncertaintyScorer', 'detect',
    'noisy_pipeline'
]
