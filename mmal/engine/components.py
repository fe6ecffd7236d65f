"""Checking the scorer, the selector and so on that a config names."""
from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from mmengine.registry import FUNCTIONS, Registry

from mmal.influence.solvers import BaseSolver
from mmal.models.committees import BaseCommittee
from mmal.pool import BaseOracle
from mmal.registry import SCOPE, TASK_UTILS
from mmal.scoring import BaseScorer
from mmal.scoring.embeddings import BaseEmbedder
from mmal.selection import BaseSelector
from .pure_python import type_name
from .schema import Problems, join_key, nearest, short
from .stopping import BaseStopRule
from .type_hints import fits, hints_of, in_words

KINDS = dict(
    scorer=BaseScorer,
    selector=BaseSelector,
    oracle=BaseOracle,
    committee=BaseCommittee,
    embedder=BaseEmbedder,
    solver=BaseSolver,
    stop=BaseStopRule)
# the arguments of a component that are configs of another one, and its kind
NESTED = dict(scorer='scorer', selector='selector', solver='solver',
              first='selector', then='selector')
# those that are dicts of several
_NESTED_MANY = dict(scorers='scorer')
# the arguments that a run gives
_GIVEN = dict(oracle=('pool', 'work_dir'))
_EXAMPLES = dict(
    scorer='RandomScorer',
    selector='TopN',
    oracle='CocoOracle',
    committee='EnsembleCommittee',
    embedder='LayerEmbedder',
    solver='ConjugateGradient',
    stop='Plateau',
    function='make_digits')


def checked_component(cfg: Any, kind: str) -> dict:
    """A scorer's, selector's, … config, compared with the class it names.

    Args:
        cfg (Any): Should be ``type``, and arguments of its class.
        kind (str): A key of :data:`KINDS`.

    Returns:
        dict: The config, with the registered name of a type that was given
        as a class.

    Raises:
        Problems: All mistakes: no config, a type that is not registered or
            of another kind, arguments that the class does not know, lacks or
            that are of another type. Values are checked by the class itself.
    """
    problems: list[tuple[str, str]] = []
    checked = _check(cfg, kind, '', problems)
    if problems:
        raise Problems(problems)
    return checked


def checked_function(cfg: Any) -> dict:
    """The config of a registered function, see :func:`checked_component`."""
    problems: list[tuple[str, str]] = []
    function, cfg = _typed(cfg, 'function', FUNCTIONS, '', problems)
    if function is not None and not callable(function):
        problems.append(('type', f'is {short(cfg["type"])}, which is no '
                         'function.'))
    elif function is not None:
        _check_arguments(function, cfg, 'function', '', problems)
    if problems:
        raise Problems(problems)
    return cfg


def _check(cfg: Any, kind: str, key: str,
           problems: list[tuple[str, str]]) -> dict:
    cls, cfg = _typed(cfg, kind, TASK_UTILS, key, problems)
    if cls is None:
        return cfg
    if not (inspect.isclass(cls) and issubclass(cls, KINDS[kind])):
        problems.append((join_key(key, 'type'), f'is {short(cfg["type"])}, '
                         f'which is no {kind}: give the name of a registered '
                         f'{kind}.'))
        return cfg
    _check_arguments(cls, cfg, kind, key, problems)
    return cfg


def _typed(cfg: Any, kind: str, registry: Registry, key: str,
           problems: list[tuple[str, str]]) -> tuple[Any, dict]:
    """What ``cfg['type']`` names, None if it is nothing, and the config with
    it as a name."""
    example = f"e.g. dict(type='{SCOPE}.{_EXAMPLES[kind]}')"
    if not isinstance(cfg, Mapping):
        problems.append((key, f'is {short(cfg)}: give a dict with the type '
                         f'of the {kind}, {example}.'))
        return None, {}
    if 'type' not in cfg:
        problems.append((join_key(key, 'type'), 'must be set: the name of a '
                         f'registered {kind}, {example}.'))
        return None, {}
    cfg = dict(cfg)
    name = cfg['type']
    if inspect.isclass(name) or inspect.isroutine(name):
        # a config names what is registered: it is written to files
        found = name
        cfg['type'] = type_name(found) or found
        return found, cfg
    try:
        found = registry.get(name)
    except Exception:  # it tries to import whatever the name may be
        found = None
    if found is None:
        known = [
            f'{SCOPE}.{n}' for n, c in registry.module_dict.items()
            if inspect.isclass(c) and issubclass(c, KINDS.get(kind, c))
        ] if kind in KINDS else []
        problems.append((join_key(key, 'type'), f'is {short(name)}, which is '
                         f'not registered. {nearest(name, known)} (Your own '
                         'needs custom_imports.)'))
    return found, cfg


def _check_arguments(target: Callable, cfg: dict, kind: str, key: str,
                     problems: list[tuple[str, str]]) -> None:
    try:
        parameters = dict(inspect.signature(target).parameters)
    except (TypeError, ValueError):  # some that are not written in python
        return
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    given = _GIVEN.get(kind, ()) if not key else ()
    known = {
        name: p for name, p in parameters.items()
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        and name not in given
    }
    for name, p in known.items():
        if p.default is p.empty and name not in cfg:
            problems.append((join_key(key, name), 'must be set: '
                             f'{cfg["type"]} needs it.'))
    hints = hints_of(target)
    for name, value in cfg.items():
        where = join_key(key, name)
        if name == 'type':
            continue
        if name in given:
            problems.append((where, 'is given by the run: leave it out.'))
        elif name not in known and not open_ended:
            problems.append((where, f'is not known. {nearest(name, known)}'))
        elif name in NESTED and not isinstance(value, KINDS[NESTED[name]]):
            if value is not None:
                cfg[name] = _check(value, NESTED[name], where, problems)
        elif name in _NESTED_MANY and isinstance(value, Mapping):
            cfg[name] = {
                key: _check(nested, _NESTED_MANY[name], join_key(where, key),
                            problems)
                for key, nested in value.items()}
        elif name in hints and not fits(value, hints[name]):
            problems.append(
                (where, f'is {short(value)}: give {in_words(hints[name])}.'))
