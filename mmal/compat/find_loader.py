"""Supplies ``pkgutil.find_loader`` where Python 3.14 no longer does."""
from __future__ import annotations

import importlib.abc
import importlib.util
import pkgutil
from typing import Optional


def find_loader(fullname: str) -> Optional[importlib.abc.Loader]:
    """The loader of a module, None if there is no such module.

    mmcv 2.1 and mmengine 0.10.7 ask it whether mmcv has compiled operators.
    As Python's own did, it imports the packages above the module.

    Args:
        fullname (str): The module's full name.

    Raises:
        ImportError: If the module cannot be looked for, e.g. since what is
            above it is no package.
    """
    if fullname.startswith('.'):
        raise ImportError(f'{fullname!r} is relative: give the full name.')
    try:
        spec = importlib.util.find_spec(fullname)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ImportError(f'{fullname} cannot be looked for: {error}'
                          ) from error
    return None if spec is None else spec.loader


def register() -> None:
    """Put it where it is missing; Python's own is left alone."""
    if not hasattr(pkgutil, 'find_loader'):
        pkgutil.find_loader = find_loader
