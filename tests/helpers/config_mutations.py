"""Seeded mistakes in configs: what people, scripts and merges leave behind."""
from __future__ import annotations

import copy
import pathlib
import random
from typing import Any, Callable

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.config.lazy import LazyObject


class Unprintable:
    """An object that a message must not show."""

    def __repr__(self) -> str:
        return 'SECRET' * 2000


def deep(levels: int, leaf: Any = 1) -> dict:
    """A dict in a dict in a dict…"""
    for _ in range(levels):
        leaf = dict(deeper=leaf)
    return leaf


# made anew for each use, since some can be changed in place
VALUES: tuple[Callable[[], Any], ...] = (
    lambda: None, lambda: True, lambda: False, lambda: 0, lambda: -1,
    lambda: 1, lambda: 2.0, lambda: 0.5, lambda: float('nan'),
    lambda: float('inf'), lambda: -float('inf'), lambda: 10**30,
    lambda: 10**5000, lambda: '', lambda: '10', lambda: 'ten',
    lambda: 'x' * 10000, lambda: 'naïve ☃', lambda: b'bytes', list, dict,
    tuple, set, lambda: [1], lambda: [None], lambda: ['a', 'b'],
    lambda: list(range(5000)), lambda: dict(type='mmal.Nothing'),
    lambda: dict(type=None), lambda: dict(type='mmal.TopN'),
    lambda: dict(type='mmal.TopN', k=Unprintable()), lambda: {1: 2},
    lambda: {None: None}, lambda: dict(_delete_=True),
    lambda: dict(_scope_='mmal'), lambda: deep(60), lambda: deep(5, []),
    lambda: np.int64(3), lambda: np.float32(2.5), lambda: np.array([1, 2]),
    lambda: np.array(7), lambda: np.bool_(True), lambda: np.str_('images'),
    lambda: torch.tensor(3), lambda: torch.zeros(100, 100), Unprintable,
    lambda: object, lambda: len, lambda: (lambda x: x), lambda: 3 + 4j,
    lambda: range(3), lambda: pathlib.Path('pool.json'),
    lambda: LazyObject('mmal.selection', 'TopN'),
    lambda: LazyObject('no_such_module', 'X'), lambda: slice(1),
    lambda: '{{_base_.x}}', lambda: 'mmal.TopN', lambda: 'os.getcwd',
    lambda: 'mmal.', lambda: '.', lambda: 'images', lambda: 'all')

KEYS: tuple[Any, ...] = ('sise', 'type', 'Rounds', '', ' ', 'ann-file',
                         '_scope_', '_delete_', 'k' * 3000, 5, None,
                         ('a', 1), 1.5, 'self', 'args', 'pool', 'work_dir')


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """The paths of all values inside a config, itself first."""
    out = [path]
    if isinstance(value, dict):
        for key in value:
            out += places(value[key], (*path, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            out += places(item, (*path, i))
    return out


def at(value: Any, path: tuple) -> Any:
    """The value at a path."""
    for key in path:
        value = value[key]
    return value


def mutate(tree: dict, seed: int, keep: tuple = ()) -> dict:
    """A copy of a plain dict with one to three mistakes.

    Args:
        tree (dict): Dicts, lists and values.
        seed (int): Same seed, same mistakes.
        keep (tuple): Keys at the top that are left alone.

    Returns:
        dict: The copy; the top stays a dict.
    """
    rng = random.Random(seed)
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        paths = [p for p in places(tree) if p and p[0] not in keep]
        if not paths:
            return tree
        path = rng.choice(paths)
        parent, key = at(tree, path[:-1]), path[-1]
        kind = rng.choice(('drop', 'rename', 'retype', 'retype', 'retype',
                           'nest', 'swap', 'add', 'text'))
        if kind == 'drop':
            del parent[key]
        elif kind == 'rename' and isinstance(parent, dict):
            parent[_renamed(key, rng)] = parent.pop(key)
        elif kind == 'nest':
            value = parent[key]
            parent[key] = rng.choice(
                ([value], dict(x=value), (value, value), {str(key): value}))
        elif kind == 'swap':
            other = rng.choice(paths)
            if other[:len(path)] != path and path[:len(other)] != other:
                there = at(tree, other[:-1])
                parent[key], there[other[-1]] = there[other[-1]], parent[key]
        elif kind == 'add':
            inside = parent[key] if isinstance(parent[key], dict) else parent
            if isinstance(inside, dict):
                inside[rng.choice(KEYS)] = rng.choice(VALUES)()
        elif kind == 'text':
            parent[key] = str(parent[key])
        else:
            parent[key] = rng.choice(VALUES)()
    return tree


def _renamed(key: Any, rng: random.Random) -> Any:
    if not isinstance(key, str) or len(key) < 2:
        return rng.choice(KEYS)
    i = rng.randrange(len(key) - 1)
    return rng.choice((key[:i] + key[i + 1:], key.upper(), key + 's',
                       key[:i] + key[i + 1] + key[i] + key[i + 2:],
                       key.replace('_', ''), rng.choice(KEYS)))


def as_config(tree: dict) -> Config:
    """The config of a tree, with dicts as mmengine makes them."""
    cfg = Config()
    object.__setattr__(cfg, '_cfg_dict', ConfigDict(tree))
    return cfg
