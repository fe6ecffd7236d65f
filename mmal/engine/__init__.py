"""The controller of a run, its hook and its work folder."""
from .hooks import ActiveLearningHook
from .learner import ActiveLearner
from .reproducible import EpochSeedHook, seed_worker
from .settings import Settings

__all__ = [
    'ActiveLearner', 'ActiveLearningHook', 'EpochSeedHook', 'Settings',
    'seed_worker'
]
