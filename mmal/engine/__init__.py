"""The controller of a run, its hook and its work folder."""
from mmal.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, {
    'hooks': ['ActiveLearningHook'],
    'learner': ['ActiveLearner'],
    'reproducible': ['EpochSeedHook', 'seed_worker'],
    'settings': ['Settings'],
})
