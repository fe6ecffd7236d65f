"""mmengine's pure-python configs, whose types are classes."""
from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, Callable, Optional

from mmengine import registry as mmengine_registry
from mmengine.config import Config
from mmengine.config.lazy import LazyAttr, LazyObject
from mmengine.registry import Registry

from .schema import Problems, join_key, short

SCOPE = 'mmdet'
# no module, but a plain value that was imported
_VALUES = (bool, int, float, str, list, tuple, dict, type(None))


def with_named_types(cfg: Config) -> Config:
    """A config whose types are names, as in mmengine's text configs.

    A run compares types with names, and writes them into the configs of its
    rounds. ``default_scope=None`` becomes 'mmdet'.

    Args:
        cfg (Config): Any config.

    Returns:
        Config: The same object if its types are names already.

    Raises:
        ValueError: If a class or something else that is imported is not the
            value of a ``type``, or cannot be imported.
    """
    # what is imported at the top of the file is no key of the config
    imported = getattr(cfg, '_imported_names', ())
    top = {k: v for k, v in _raw_items(cfg._cfg_dict) if k not in imported}
    if not imported and not any(map(_has_imports, top.values())):
        return cfg
    problems: list[tuple[str, str]] = []
    tree = {k: _named(v, str(k), '', problems) for k, v in top.items()}
    if problems:
        raise ValueError(Problems(problems).message(''))
    tree['default_scope'] = tree.get('default_scope') or SCOPE
    named = Config(tree)
    return Config(tree, cfg_text=named.pretty_text, filename=cfg.filename)


def _raw_items(value: dict) -> Iterator[tuple[Any, Any]]:
    """The items of a dict; mmengine's own would import them."""
    return dict.items(value)


def _is_import(value: Any) -> bool:
    return isinstance(value, (LazyObject, LazyAttr)) or \
        inspect.isclass(value) or inspect.isroutine(value)


def _has_imports(value: Any, depth: int = 0) -> bool:
    if depth > 100:  # as deep as no config is: others say so
        return False
    if isinstance(value, dict):
        return any(_has_imports(v, depth + 1) for _, v in _raw_items(value))
    if isinstance(value, (list, tuple)):
        return any(_has_imports(v, depth + 1) for v in value)
    return _is_import(value)


def _named(value: Any, path: str, key: str,
           problems: list[tuple[str, str]], depth: int = 0) -> Any:
    if depth > 100:
        problems.append((path, 'is nested more than 100 levels deep.'))
        return None
    if isinstance(value, dict):
        return {
            k: _named(v, join_key(path, k), k, problems, depth + 1)
            for k, v in _raw_items(value)
        }
    if isinstance(value, (list, tuple)):
        return type(value)(
            _named(v, join_key(path, i), '', problems, depth + 1)
            for i, v in enumerate(value))
    if not _is_import(value):
        return value
    if isinstance(value, (LazyObject, LazyAttr)):
        try:
            value = value.build()
        except Exception as e:  # importing runs anybody's code
            problems.append((path, f'cannot be imported: {short(str(e))}'))
            return None
        if isinstance(value, _VALUES):
            return value
    name = type_name(value) if key == 'type' else None
    if name is None:
        problems.append(
            (path, f'is {short(value)}: in a pure-python config a run can use '
             'what is imported as the value of type only. Write the name that '
             'it is registered by, or a plain value.'))
    return name


def type_name(target: Callable) -> Optional[str]:
    """The text by which ``dict(type=…)`` finds a class or a function.

    Returns:
        str | None: Its registered name, with a scope where mmdet's default
        scope finds another class of this name; its import path if it is not
        registered; None if it is neither.
    """
    if not (inspect.isclass(target) or inspect.isroutine(target)):
        return None
    for root in vars(mmengine_registry).values():
        if not isinstance(root, Registry):
            continue
        of_mmdet = root.children.get(SCOPE)
        for registry in (of_mmdet, root, *root.children.values()):
            if registry is None:
                continue
            for name, cls in registry.module_dict.items():
                if cls is not target:
                    continue
                # the scope in which a name is looked for first
                first = of_mmdet if of_mmdet and name in of_mmdet.module_dict \
                    else root
                return name if first is registry else \
                    f'{registry.scope}.{name}'
    path = f'{target.__module__}.{target.__qualname__}'
    return None if '<' in path else path
