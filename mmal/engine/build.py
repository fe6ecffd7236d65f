"""Building the parts that a config names."""
from __future__ import annotations

from collections.abc import Mapping
from inspect import signature

from mmal.models.committees import BaseCommittee
from mmal.pool import BaseOracle
from mmal.registry import TASK_UTILS
from mmal.scoring import BaseScorer
from mmal.scoring.embeddings import BaseEmbedder
from mmal.selection import BaseSelector
from .settings import Settings

_KINDS = dict(
    scorer=BaseScorer,
    selector=BaseSelector,
    oracle=BaseOracle,
    committee=BaseCommittee,
    embedder=BaseEmbedder)


def build(settings: Settings, name: str, **kwargs):
    """Build the scorer, selector, oracle, committee or embedder of a config.

    Args:
        settings (Settings): The ``active_learning`` block.
        name (str): Which of them.
        **kwargs: What the run knows and the config need not say.

    Returns:
        The object; None where the config has no committee or embedder.

    Raises:
        ValueError: If the config cannot be built or is of another kind; the
            message names its key.
    """
    cfg = getattr(settings, name)
    if cfg is None:
        return None
    if name == 'selector':
        cfg = _with_run_seed(cfg, settings.seed)
    return build_from(name, {**kwargs, **cfg})


def build_from(name: str, cfg: dict):
    """Build one of them from its own config.

    Raises:
        ValueError: See :func:`build`.
    """
    try:
        built = TASK_UTILS.build(cfg)
    except (KeyError, TypeError) as e:
        raise ValueError(
            f'active_learning.{name} cannot be built from {cfg}: {e}') from e
    if not isinstance(built, _KINDS[name]):
        raise ValueError(
            f'active_learning.{name}.type is {cfg["type"]}, which is no '
            f'{name}: give the name of a registered {name}.')
    return built


def _with_run_seed(cfg: Mapping, seed: int) -> dict:
    """The run's seed, for a selector that draws and was given no other, and
    for the one that it wraps."""
    kind = TASK_UTILS.get(cfg['type']) if 'type' in cfg else None
    draws = kind is not None and 'seed' in signature(kind).parameters
    seeded = {**(dict(seed=seed) if draws else {}), **cfg}
    if isinstance(cfg.get('selector'), Mapping):
        seeded['selector'] = _with_run_seed(cfg['selector'], seed)
    return seeded
