"""Image classifiers."""
from .image_classifier import ImageClassifier
from .learning_loss_classifier import LearningLossClassifier

__all__ = ['ImageClassifier', 'LearningLossClassifier']
