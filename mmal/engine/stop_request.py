"""SIGTERM and SIGUSR1: a batch system says that the time is nearly up."""
from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

# Windows has no SIGUSR1
SIGNALS = tuple(
    getattr(signal, name) for name in ('SIGTERM', 'SIGUSR1')
    if hasattr(signal, name))


class StopRequested(BaseException):
    """The process was asked to end, and can go on later.

    Like KeyboardInterrupt it is no error, which nobody shall catch as one.

    Args:
        name (str): The signal.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f'stopped by {name}')


class StopRequest:
    """Whether this process was asked to end.

    Attributes:
        signal_name (str, optional): The signal that asked; None before.
        is_deferred (bool): Whether somebody looks for it when the time is
            right; otherwise the signal raises :class:`StopRequested` at once.
    """

    def __init__(self) -> None:
        self.signal_name: Optional[str] = None
        self.is_deferred = False
        self._before: dict = {}  # handlers, while signals are taken
        self._mask = threading.local()  # of the thread that forks

    def raise_if_made(self) -> None:
        """Raise StopRequested if there is a request."""
        if self.signal_name is not None:
            raise StopRequested(self.signal_name)

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take SIGTERM and SIGUSR1 for requests, in this process alone.

        A worker that is forked meanwhile goes on at SIGUSR1, and ends at
        SIGTERM. Must be called in the main thread.
        """
        owner = os.getpid()

        def take(number: int, frame) -> None:
            if os.getpid() != owner:  # a worker that inherited this
                return
            self.signal_name = signal.Signals(number).name
            if not self.is_deferred:
                self.raise_if_made()

        before = {s: signal.signal(s, take) for s in SIGNALS}
        self._before = before
        try:
            yield
        finally:
            self._before = {}
            for number, handler in before.items():
                signal.signal(number, handler)

    # A pool ends its workers by SIGTERM and then waits for them: that of
    # VOCMetric hung for ever where one of them took it for a request. The
    # handler could not end the worker itself: it is Python, which does not
    # run in a worker that begins to wait for a lock as the signal comes, and
    # what comes before Python is set up in the fork is dropped. So SIGTERM is
    # held back until the fork has its old handler again.

    def before_fork(self) -> None:
        """Hold SIGTERM back in this thread."""
        self._mask.old = signal.pthread_sigmask(signal.SIG_BLOCK,
                                                {signal.SIGTERM})

    def after_in_parent(self) -> None:
        """Let it through again."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask.old)

    def after_in_child(self) -> None:
        """The same, when it does what it did before :meth:`on_signals`."""
        if self._before:
            signal.signal(signal.SIGTERM, self._before[signal.SIGTERM])
        self.after_in_parent()


request = StopRequest()  # signals come to the process as a whole
if hasattr(os, 'register_at_fork'):  # Windows has no fork
    os.register_at_fork(before=request.before_fork,
                        after_in_parent=request.after_in_parent,
                        after_in_child=request.after_in_child)
