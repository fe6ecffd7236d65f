"""Packages that import their modules when somebody asks for a name."""
from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Callable


def lazy_names(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """What the ``__init__`` of a package needs in place of its imports.

    A package that imports all its modules makes whoever needs a small one
    wait for the largest: the report of a run reads the names of files from
    :mod:`mmal.pool.layout`, and would load torch and mmdet for that.

    Args:
        package (str): The package's ``__name__``.
        modules (mapping[str, sequence[str]]): Module of the package -> the
            names that the package has from there.

    Returns:
        tuple: ``__getattr__``, ``__dir__`` and ``__all__`` of the package.

    Example:
        >>> from mmal.lazy import lazy_names
        >>> getter, _, names = lazy_names('mmal', {'version': ['__version__']})
        >>> names, isinstance(getter('__version__'), str)
        (['__version__'], True)
    """
    owners = {name: module for module, names in modules.items()
              for name in names}

    def get(name: str) -> Any:
        if name in modules:
            return importlib.import_module(f'{package}.{name}')
        if name not in owners:
            raise AttributeError(
                f'module {package!r} has no attribute {name!r}')
        module = importlib.import_module(f'{package}.{owners[name]}')
        # found without this function from now on
        setattr(sys.modules[package], name, getattr(module, name))
        return getattr(module, name)

    return get, lambda: sorted({*owners, *modules}), sorted(owners)
