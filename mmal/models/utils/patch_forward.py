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


def keeps_rows(loss: nn.Module) -> bool:
    """Whether a loss sums up its rows as the ``forward`` of its class does.

    One that is replaced for a while may not, unless :func:`keep_rows` says
    so.
    """
    forward = vars(loss).get('forward')
    return forward is None or getattr(forward, 'keeps_rows', False)


def keep_rows(loss: nn.Module, forward: Callable) -> Callable:
    """Mark a ``forward`` that sums up rows as the one that it stands for.

    Args:
        loss (nn.Module): The loss, of which ``forward`` will take the place.
        forward (Callable): Its sum over each row, with 'none' as the
            reduction, is that of the loss; attributes can be set on it.
    """
    forward.keeps_rows = keeps_rows(loss)
    return forward
