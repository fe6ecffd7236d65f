"""Scorers: a model and images in, one number per image out."""
from .bald_scorer import BALDScorer
from .base import BaseScorer
from .data import Batch, ScoringData, Split, plan_batches, scoring_pipeline
from .dense import class_probabilities
from .detection_entropy_scorer import DetectionEntropyScorer
from .detections import detections
from .embedding_model import EmbeddingModel
from .entropy_scorer import EntropyScorer
from .grad_scorer import GradScorer
from .influence_scorer import InfluenceScorer
from .layer_embedder import LayerEmbedder
from .learning_loss_scorer import LearningLossScorer
from .least_confidence_scorer import LeastConfidenceScorer
from .localization_stability_scorer import LocalizationStabilityScorer
from .loop import score_pool
from .margin_scorer import MarginScorer
from .mixture_uncertainty_scorer import MixtureUncertaintyScorer
from .mutual_information_scorer import MutualInformationScorer
from .noise import GaussianNoise, noisy_pipeline
from .random_scorer import RandomScorer
from .scores import Scores

__all__ = [
    'BALDScorer', 'BaseScorer', 'Batch', 'DetectionEntropyScorer',
    'EmbeddingModel', 'EntropyScorer', 'GaussianNoise', 'GradScorer',
    'InfluenceScorer', 'LayerEmbedder', 'LearningLossScorer',
    'LeastConfidenceScorer', 'LocalizationStabilityScorer', 'MarginScorer',
    'MixtureUncertaintyScorer', 'MutualInformationScorer', 'RandomScorer',
    'Scores', 'ScoringData', 'Split', 'class_probabilities', 'detections',
    'noisy_pipeline', 'plan_batches', 'score_pool', 'scoring_pipeline'
]
