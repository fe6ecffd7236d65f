"""Checking the scorer, the selector and so on that a config names."""
from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Union

from mmengine.registry import FUNCTIONS, Registry
from pydantic import TypeAdapter, ValidationError

from mmal.influence.solvers import BaseSolver
from mmal.models.committees import BaseCommittee
from mmal.pool import BaseOracle
from mmal.registry import SCOPE, TASK_UTILS
from mmal.scoring import BaseScorer
from mmal.scoring.embeddings import BaseEmbedder
from mmal.selection import BaseSelector
from .schema import Problems, join_key, nearest, short

KINDS = dict(
    scorer=BaseScorer,
    selector=BaseSelector,
    oracle=BaseOracle,
    committee=BaseCommittee,
    embedder=BaseEmbedder,
    solver=BaseSolver)
# the arguments of a component that are configs of another one
_NESTED = ('selector', 'solver')
# the arguments that a run gives
_GIVEN = dict(oracle=('pool', 'work_dir'))
_WORDS = {
    int: 'a whole number',
    float: 'a number',
    str: 'a text',
    bool: 'True or False',
    dict: 'a dict',
    type(None): 'None'
}


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
    if not isinstance(cfg, Mapping):
        problems.append((key, f'is {short(cfg)}: give a dict with the type '
                         f'of the {kind}, {_example(kind)}.'))
        return None, {}
    if 'type' not in cfg:
        problems.append((join_key(key, 'type'), 'must be set: the name of a '
                         f'registered {kind}, {_example(kind)}.'))
        return None, {}
    cfg = dict(cfg)
    name = cfg['type']
    if inspect.isclass(name) or inspect.isroutine(name):
        # a config names what is registered: it is written to files
        found = name
        cfg['type'] = registered_name(found, registry)
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


def registered_name(found: Callable, registry: Registry) -> str:
    """The name by which a registry finds a class, or its import path."""
    for name, cls in registry.module_dict.items():
        if cls is found:
            return f'{registry.scope}.{name}'
    return f'{found.__module__}.{found.__qualname__}'


def _example(kind: str) -> str:
    examples = dict(
        scorer='RandomScorer', selector='TopN', oracle='CocoOracle',
        committee='EnsembleCommittee', embedder='LayerEmbedder',
        solver='ConjugateGradient', function='make_digits')
    return f"e.g. dict(type='{SCOPE}.{examples[kind]}')"


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
    hints = _hints(target)
    for name, value in cfg.items():
        where = join_key(key, name)
        if name == 'type':
            continue
        if name in given:
            problems.append((where, 'is given by the run: leave it out.'))
        elif name not in known and not open_ended:
            problems.append((where, f'is not known. {nearest(name, known)}'))
        elif name in _NESTED and not isinstance(value, KINDS[name]):
            if value is not None:
                cfg[name] = _check(value, name, where, problems)
        elif name in hints and not _fits(value, hints[name]):
            problems.append(
                (where, f'is {short(value)}: give {_words(hints[name])}.'))


def _hints(target: Callable) -> dict[str, Any]:
    """The types of the arguments, of those that a config can spell."""
    init = target.__init__ if inspect.isclass(target) else target
    try:
        hints = typing.get_type_hints(init)
    except Exception:  # a name that only a type checker sees
        return {}
    return {name: hint for name, hint in hints.items() if _is_spelled(hint)}


def _is_spelled(hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin in (Union, getattr(types, 'UnionType', Union), list, Sequence,
                  Mapping, dict):
        return all(map(_is_spelled, typing.get_args(hint)))
    return hint in _WORDS


def _fits(value: Any, hint: Any) -> bool:
    try:
        TypeAdapter(hint).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def _words(hint: Any) -> str:
    """A type as a person says it: 'a whole number or None'."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (list, Sequence):
        return f'a list, of {_words(args[0])} each'
    if origin in (Mapping, dict):
        return _WORDS[dict]
    if args:
        return ' or '.join(_words(a) for a in args)
    return _WORDS[hint]
