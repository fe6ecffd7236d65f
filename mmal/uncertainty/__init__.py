"""Uncertainties as functions of tensors; imports neither mmdet nor mmcv."""
from .bald import bald, difficulty
from .class_difficulty import difficulty_weight, match_quality
from .confidence import (
    binary_least_confidence,
    binary_margin_uncertainty,
    categorical_least_confidence,
    categorical_margin_uncertainty,
)
from .dirichlet import (
    dirichlet_expected_entropy,
    dirichlet_mutual_information,
)
from .divergence import jensen_shannon, symmetric_divergence
from .entropy import binary_entropy, categorical_entropy
from .hierarchy import hierarchical_aggregation
from .mixtures import aleatoric, epistemic, mixture_mean, softmax_aleatoric
from .moments import image_moments, masked_max, pooled_moments
from .mutual_information import mutual_information
from .precision import at_least_float32
from .rectified import rectified_moments
from .redundancy import entropy_suppression
from .self_loss import binary_self_loss, categorical_self_loss
from .stability import best_overlap

__all__ = [
    'aleatoric', 'at_least_float32', 'bald', 'best_overlap', 'binary_entropy',
    'binary_least_confidence', 'binary_margin_uncertainty', 'binary_self_loss',
    'categorical_entropy', 'categorical_least_confidence',
    'categorical_margin_uncertainty', 'categorical_self_loss', 'difficulty',
    'difficulty_weight', 'dirichlet_expected_entropy',
    'dirichlet_mutual_information', 'entropy_suppression', 'epistemic',
    'hierarchical_aggregation', 'image_moments', 'jensen_shannon',
    'masked_max', 'match_quality', 'mixture_mean', 'mutual_information',
    'pooled_moments', 'rectified_moments', 'softmax_aleatoric',
    'symmetric_divergence'
]
