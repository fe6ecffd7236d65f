"""Other ``forward`` methods for a while."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import nn


@contextmanager
def patch_forward(
        forwards: Mapping[nn.Module, Callable]) -> Iterator[None]:
    """Inside, modules have other ``forward`` methods; undone on exceptions.

    Args:
        forwards (mapping[nn.Module, Callable]): The methods. One that had
            been replaced before is put back at the end, so it can be nested.
    """
    # of the object alone: its class has a forward anyway
    before = {module: vars(module).get('forward') for module in forwards}
    try:
        for module, forward in forwards.items():
            module.forward = forward
        yield
    finally:
        for module, forward in before.items():
            vars(module).pop('forward', None)
            if forward is not None:
                module.forward = forward
