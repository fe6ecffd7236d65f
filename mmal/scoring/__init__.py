"""Scorers: a model and images in, one number per image out."""
from .base import BaseScorer
from .batch import Batch, collate
from .combined_scorer import CombinedScorer
from .data import ScoringData, Split, plan_batches, scoring_pipeline
from .dense import (
    BALDScorer,
    EntropyScorer,
    GradScorer,
    LeastConfidenceScorer,
    MarginScorer,
    MutualInformationScorer,
    class_probabilities,
)
from .detections import (
    ClassBalanceScorer,
    ClassDistributionEmbedder,
    ConsistencyScorer,
    DetectionEntropyScorer,
    DifficultyCalibratedScorer,
    EntropyNMSScorer,
    FlipInconsistencyScorer,
    GaussianNoise,
    HierarchicalUncertaintyScorer,
    LocalizationStabilityScorer,
    LogisticUncertaintyScorer,
    MixtureUncertaintyScorer,
    detect,
    noisy_pipeline,
)
from .embeddings import EmbeddingModel, LayerEmbedder
from .isal import (
    CalibratedInfluenceScorer,
    GradientEmbeddingScorer,
    InfluenceScorer,
    OracleInfluenceScorer,
)
from .learning_loss_scorer import LearningLossScorer
from .loop import score_pool
from .per_cost_scorer import PerCostScorer
from .random_scorer import RandomScorer

__all__ = [
    'BALDScorer', 'BaseScorer', 'Batch', 'CalibratedInfluenceScorer',
    'ClassBalanceScorer', 'ClassDistributionEmbedder', 'CombinedScorer',
    'ConsistencyScorer', 'DetectionEntropyScorer',
    'DifficultyCalibratedScorer', 'EmbeddingModel', 'EntropyNMSScorer',
    'EntropyScorer', 'FlipInconsistencyScorer', 'GaussianNoise', 'GradScorer',
    'GradientEmbeddingScorer', 'HierarchicalUncertaintyScorer',
    'InfluenceScorer', 'LayerEmbedder', 'LearningLossScorer',
    'LeastConfidenceScorer', 'LocalizationStabilityScorer',
    'LogisticUncertaintyScorer', 'MarginScorer', 'MixtureUncertaintyScorer',
    'MutualInformationScorer', 'OracleInfluenceScorer', 'PerCostScorer',
    'RandomScorer', 'ScoringData', 'Split', 'class_probabilities', 'collate',
    'detect', 'noisy_pipeline', 'plan_batches', 'score_pool',
    'scoring_pipeline'
]
