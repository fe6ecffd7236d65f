"""SIGTERM and SIGUSR1: a batch system says that the time is nearly up."""
from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import popen_fork
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

    def raise_if_made(self) -> None:
        """Raise StopRequested if there is a request."""
        if self.signal_name is not None:
            raise StopRequested(self.signal_name)

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take SIGTERM and SIGUSR1 for requests, in this process alone.

        A worker that is forked meanwhile goes on, so that a signal to all
        processes of a job lets a training finish its iteration. Must be called
        in the main thread.
        """
        owner = os.getpid()

        # What ends a worker has to be a signal that it cannot take for a
        # request: mmdet's VOC evaluation leaves its pool to the garbage
        # collector, which sends SIGTERM to workers that wait for a lock, and
        # then waits for them, for ever. For good, as workers may outlive this.
        popen_fork.Popen.terminate = popen_fork.Popen.kill

        def take(number: int, frame) -> None:
            if os.getpid() != owner:  # a worker that inherited this
                return
            self.signal_name = signal.Signals(number).name
            if not self.is_deferred:
                self.raise_if_made()

        before = {s: signal.signal(s, take) for s in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


request = StopRequest()  # signals come to the process as a whole
