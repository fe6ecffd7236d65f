"""Building the parts that a config names."""
from __future__ import annotations

from collections.abc import Mapping
from inspect import signature

from mmal.registry import TASK_UTILS
from .components import KINDS, NESTED
from .schema import short
from .settings import Settings


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
        cfg = with_run_seed(cfg, settings.seed)
    return build_from(name, cfg, **kwargs)


def build_from(name: str, cfg: dict, key: str = '', **kwargs):
    """Build one of them from its own config.

    Args:
        name (str): Which of them.
        cfg (dict): Its config.
        key (str): Where it stands. Default: ``active_learning.<name>``.
        **kwargs: Arguments that the config need not say; no message shows
            them.

    Raises:
        ValueError: See :func:`build`.
    """
    key = key or f'active_learning.{name}'
    try:
        built = TASK_UTILS.build({**kwargs, **cfg})
    except OSError:
        raise  # names the file
    except Exception as e:  # whatever its class makes of a value
        text = str(e)
        if isinstance(e, ValueError) and key in text and len(text) < 1000:
            raise
        reason = text if isinstance(e, ValueError) else \
            f'{type(e).__name__}: {text}'
        raise ValueError(
            f'{key} cannot be built from {short(cfg, 200)}: '
            f'{reason[:500]}') from e
    if not isinstance(built, KINDS[name]):
        raise ValueError(
            f'{key}.type is {short(cfg["type"])}, which is no {name}: give '
            f'the name of a registered {name}.')
    return built


def with_run_seed(cfg: Mapping, seed: int) -> dict:
    """The run's seed, for a selector that draws and was given no other, and
    for those that it wraps.

    Args:
        cfg (mapping): Config of a selector.
        seed (int): The seed.
    """
    kind = TASK_UTILS.get(cfg['type']) if 'type' in cfg else None
    draws = kind is not None and 'seed' in signature(kind).parameters
    seeded = {**(dict(seed=seed) if draws else {}), **cfg}
    for name, wrapped in NESTED.items():
        if wrapped == 'selector' and isinstance(cfg.get(name), Mapping):
            seeded[name] = with_run_seed(cfg[name], seed)
    return seeded
