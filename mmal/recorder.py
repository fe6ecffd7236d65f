"""What goes in and out of the modules of a model, while it runs.

The one place of the package that hooks into forward passes. It is plain torch
and lies in the lowest storey, not among the models: :mod:`mmal.influence`
records as well, and works without mmengine, mmcv and mmdet.
"""
from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Optional

from torch import nn


@dataclass(eq=False)
class ModuleCall:
    """One call of a module.

    Attributes:
        name (Hashable): The name its recorder knows the module by.
        module (nn.Module): The module.
        args (tuple): The positional arguments of its ``forward``.
        kwargs (dict): The keyword arguments.
        output (Any): What it returned, None as long as it has not.
    """
    name: Hashable
    module: nn.Module
    args: tuple
    kwargs: dict = field(default_factory=dict)
    output: Any = None


class Recorder(AbstractContextManager):
    """Records the calls of modules inside a ``with``.

    Recorders of the same modules can be nested; each sees what those that
    were entered before it made of an output. On leaving, on exceptions too,
    the modules are as they were. A copy of a module that is made inside is
    not recorded.

    Args:
        modules (mapping[Hashable, nn.Module]): The modules by name.
        on_return (callable, optional): Called with each :class:`ModuleCall`
            that has returned. What it returns takes the place of the output,
            unless that is None.
        on_start (callable, optional): Called with each :class:`ModuleCall`
            before it is made.

    Attributes:
        calls (list[ModuleCall]): Those since the last entry, in the order in
            which they returned. Where a function is given none is kept.

    Raises:
        RuntimeError: If one is entered that has not been left.

    Examples:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> with Recorder({'first': model[0]}) as recorder:
        ...     output = model(torch.ones(5, 3))
        >>> [(c.name, tuple(c.output.shape)) for c in recorder.calls]
        [('first', (5, 4))]
        >>> with Recorder({'last': model[2]}, lambda call: call.output * 0):
        ...     float(model(torch.ones(5, 3)).abs().sum())
        0.0
    """

    def __init__(
            self,
            modules: Mapping[Hashable, nn.Module],
            on_return: Optional[Callable[[ModuleCall], Any]] = None,
            on_start: Optional[Callable[[ModuleCall], None]] = None) -> None:
        self.modules = dict(modules)
        self.calls: list[ModuleCall] = []
        if on_return is None and on_start is None:
            on_return = self.calls.append
        self._on_return = on_return
        self._on_start = on_start
        self._handles: list = []

    def __enter__(self) -> Recorder:
        if self._handles:
            raise RuntimeError('a Recorder cannot be entered twice.')
        self.calls.clear()
        try:
            for name, module in self.modules.items():
                self._attach(name, module)
        except BaseException:  # a with does not leave what it did not enter
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    @property
    def hook_ids(self) -> set[int]:
        """By which torch knows the hooks of this recorder, while attached."""
        return {handle.id for handle in self._handles}

    def _attach(self, name: Hashable, module: nn.Module) -> None:
        # A deep copy of a hooked module carries these very functions along:
        # they know the module that they were made for.
        def started(called, args, kwargs):
            if called is module:
                self._on_start(ModuleCall(name, module, args, kwargs))

        def returned(called, args, kwargs, output):
            if called is module:
                return self._on_return(
                    ModuleCall(name, module, args, kwargs, output))
            return None

        if self._on_start is not None:
            self._handles.append(
                module.register_forward_pre_hook(started, with_kwargs=True))
        if self._on_return is not None:
            self._handles.append(
                module.register_forward_hook(returned, with_kwargs=True))


def is_hooked(module: nn.Module, apart_from: Iterable[Recorder] = ()) -> bool:
    """Whether hooks may see, or change, what goes in and out of a module.

    Args:
        module (nn.Module): The module itself, not those inside.
        apart_from (iterable[Recorder]): Whose hooks do not count.
    """
    ours = {i for recorder in apart_from for i in recorder.hook_ids}
    return bool({*module._forward_hooks, *module._forward_pre_hooks} - ours)
