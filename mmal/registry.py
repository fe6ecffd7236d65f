"""Registries of mmal, children of mmengine's roots under the scope ``mmal``.

A config names our types with the prefix ``mmal.``, e.g.
``dict(type='mmal.InfluenceScorer')``, whatever its default scope is. Scorers,
selectors, oracles, committees and solvers all live in :data:`TASK_UTILS`.

Without mmengine :data:`TASK_UTILS` still registers and builds, so that
``mmal.selection`` and ``mmal.influence`` work on their own.
"""
from __future__ import annotations

try:
    from mmengine import registry as mmengine_registry
except ImportError:
    mmengine_registry = None

SCOPE = 'mmal'


class PlainRegistry:
    """What selectors and solvers need of a registry, without mmengine."""

    def __init__(self) -> None:
        self._types: dict[str, type] = {}

    def register_module(self):
        """A decorator that makes a class known by its name."""

        def register(cls: type) -> type:
            self._types[cls.__name__] = cls
            return cls

        return register

    def build(self, cfg: dict):
        """An object of ``cfg['type']``, made with its other keys.

        Raises:
            KeyError: If there is no such type.
        """
        cfg = dict(cfg)
        name = cfg.pop('type').removeprefix(f'{SCOPE}.')
        if name not in self._types:
            raise KeyError(f'{name} is none of {", ".join(self._types)}; all '
                           'others need mmengine.')
        return self._types[name](**cfg)


def _child(name: str, root: str, *locations: str):
    """A registry of our own below one of mmengine's, filled on first use."""
    return mmengine_registry.Registry(
        name,
        parent=getattr(mmengine_registry, root),
        scope=SCOPE,
        locations=list(locations))


if mmengine_registry is None:
    TASK_UTILS = PlainRegistry()
else:
    MODELS = _child('model', 'MODELS', 'mmal.models')
    WEIGHT_INITIALIZERS = _child('weight initializer', 'WEIGHT_INITIALIZERS',
                                 'mmal.models')
    DATASETS = _child('dataset', 'DATASETS', 'mmal.pool.repeat_images')
    HOOKS = _child('hook', 'HOOKS', 'mmal.engine.hooks',
                   'mmal.engine.reproducible')
    METRICS = _child('metric', 'METRICS', 'mmal.evaluation.accuracy_metric',
                     'mmal.evaluation.calibration_metric',
                     'mmal.evaluation.size_weighted_coco_metric')
    FUNCTIONS = _child('function', 'FUNCTIONS', 'mmal.engine.reproducible',
                       'mmal.datasets')
    DATA_SAMPLERS = _child('data sampler', 'DATA_SAMPLERS', 'mmal.engine')
    TASK_UTILS = _child('task util', 'TASK_UTILS', 'mmal.scoring',
                        'mmal.selection', 'mmal.pool.oracle',
                        'mmal.influence', 'mmal.models.committees',
                        'mmal.engine.stopping')
    TRANSFORMS = _child('transform', 'TRANSFORMS', 'mmal.scoring',
                        'mmal.datasets')
    VISUALIZERS = _child('visualizer', 'VISUALIZERS', 'mmal.visualization')
