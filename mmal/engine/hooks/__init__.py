"""Hooks of the runner."""
from .active_learning_hook import ActiveLearningHook
from .class_difficulty_hook import ClassDifficultyHook
from .loss_head_detach_hook import LossHeadDetachHook
from .loss_limit_hook import LossLimitHook
from .training_hook import TrainingHook

__all__ = [
    'ActiveLearningHook', 'ClassDifficultyHook', 'LossHeadDetachHook',
    'LossLimitHook', 'TrainingHook'
]
