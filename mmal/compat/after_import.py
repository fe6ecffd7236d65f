"""Functions that are called when a package has been imported."""
from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from types import ModuleType
from typing import Any, Callable, Optional

_waiting: dict[str, list[Callable[[], None]]] = {}


def call(package: str, function: Callable[[], None]) -> None:
    """Call a function right after a package is imported, or now if it is.

    Args:
        package (str): Its name, without dots.
        function (callable): Takes nothing. Is called once, before the
            ``import`` that it waits for returns.
    """
    module = sys.modules.get(package)
    if module is not None:
        function()
        return
    _waiting.setdefault(package, []).append(function)
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)


class Finder:
    """Finds what the other finders find, and has it watched."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None
                  ) -> Optional[importlib.machinery.ModuleSpec]:
        """Spec of a package that is waited for, else None."""
        if name not in _waiting:
            return None
        for finder in sys.meta_path:
            if finder is Finder or not hasattr(finder, 'find_spec'):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Watched(spec.loader)
                return spec
        return None


class _Watched(importlib.abc.Loader):
    """A loader of a package that is waited for.

    Whoever looks at the package afterwards sees the loader inside.
    """

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        for function in _waiting.pop(module.__name__, ()):
            function()
