"""mmengine's pure-python configs, whose types are classes."""
from __future__ import annotations

import inspect
from typing import Any, Callable, Optional

from mmengine import registry as mmengine_registry
from mmengine.config import Config
from mmengine.config.lazy import LazyAttr, LazyObject
from mmengine.registry import Registry

from .schema import Problems, clip, join_key, short

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
    # (dict.items, since mmengine's own would import every value)
    top = {k: v for k, v in dict.items(cfg._cfg_dict) if k not in imported}
    if not imported and not any(map(_has_imports, top.values())):
        return cfg
    problems: list[tuple[str, str]] = []
    scope = top.get('default_scope') or SCOPE
    tree = {
        k: _named(v, str(k), '', scope, problems) for k, v in top.items()
    }
    if problems:
        raise ValueError(Problems(problems).message(''))
    tree['default_scope'] = scope
    named = Config(tree)
    return Config(tree, cfg_text=named.pretty_text, filename=cfg.filename)


def _is_import(value: Any) -> bool:
    return isinstance(value, (LazyObject, LazyAttr)) or \
        inspect.isclass(value) or inspect.isroutine(value)


def _has_imports(value: Any, depth: int = 0) -> bool:
    if depth > 100:  # as deep as no config is: others say so
        return False
    if isinstance(value, dict):
        return any(_has_imports(v, depth + 1) for _, v in dict.items(value))
    if isinstance(value, (list, tuple)):
        return any(_has_imports(v, depth + 1) for v in value)
    return _is_import(value)


def _named(value: Any, path: str, key: str, scope: str,
           problems: list[tuple[str, str]], depth: int = 0) -> Any:
    if depth > 100:
        problems.append((path, 'is nested more than 100 levels deep.'))
        return None
    if isinstance(value, dict):
        return {
            k: _named(v, join_key(path, k), k, scope, problems, depth + 1)
            for k, v in dict.items(value)
        }
    if isinstance(value, (list, tuple)):
        return type(value)(
            _named(v, join_key(path, i), '', scope, problems, depth + 1)
            for i, v in enumerate(value))
    if not _is_import(value):
        return value
    if isinstance(value, (LazyObject, LazyAttr)):
        try:
            value = value.build()
        except Exception as e:  # importing runs anybody's code
            problems.append((path, f'cannot be imported: {clip(str(e), 300)}'))
            return None
        if isinstance(value, _VALUES):
            return value
    name = None
    if key == 'type' and callable(value):
        name = type_name(value, scope)
    if name is None:
        problems.append(
            (path, f'is {short(value)}: in a pure-python config a run can use '
             'what is imported as the value of type only. Write the name that '
             'it is registered by, or a plain value.'))
    return name


def type_name(target: Callable, scope: str = SCOPE) -> Optional[str]:
    """The text by which ``dict(type=…)`` finds a class or a function.

    Args:
        target (callable): The class or function.
        scope (str): The default scope of the config.

    Returns:
        str | None: Its registered name; with the name of its scope in front
        where the default scope has none or another one of this name. Its
        import path if it is not registered, None if it has none.
    """
    for root in vars(mmengine_registry).values():
        if not isinstance(root, Registry):
            continue
        default = root.children.get(scope, root)
        for registry in (default, root, *root.children.values()):
            for name, registered in registry.module_dict.items():
                if registered is not target:
                    continue
                # looked for in the default scope first, then in mmengine's
                near = {**root.module_dict, **default.module_dict}
                plain = near.get(name) is target
                return name if plain else f'{registry.scope}.{name}'
    path = f'{target.__module__}.{target.__qualname__}'
    return None if '<' in path else path
