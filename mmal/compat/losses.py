"""Losses of single images inside a distributed run."""
import contextlib
import threading
from types import ModuleType
from typing import Any, Iterator

_state = threading.local()
_lock = threading.Lock()
_users = 0


class _Local:
    """``torch.distributed`` that a thread can see as not initialised."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def is_initialized(self) -> bool:
        if getattr(_state, 'depth', 0):
            return False
        return self._module.is_initialized()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


@contextlib.contextmanager
def local_losses() -> Iterator[None]:
    """Inside, mmdet's ``reduce_mean`` acts as in a single process.

    mmdet's heads average the normaliser of a loss over all processes, which
    mixes images, and hangs where the processes have different numbers of
    images. Heads import the function by name, so what is replaced is the
    ``torch.distributed`` that ``mmdet.utils.dist_utils`` looks at. Only the
    calling thread is affected; can be nested; undone on exceptions too.

    Example:
        >>> from mmal.compat.losses import local_losses
        >>> with local_losses():
        ...     losses = model.loss(inputs, data_samples)  # doctest: +SKIP
    """
    global _users
    from mmdet.utils import dist_utils

    # One replacement for all threads: the first to come makes it, the last to
    # go undoes it. What it says is up to each thread's own depth.
    with _lock:
        if _users == 0:
            dist_utils.dist = _Local(dist_utils.dist)
        _users += 1
    _state.depth = getattr(_state, 'depth', 0) + 1
    try:
        yield
    finally:
        _state.depth -= 1
        with _lock:
            _users -= 1
            if _users == 0:
                dist_utils.dist = dist_utils.dist._module
