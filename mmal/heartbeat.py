"""Signs of life of processes, and of whom the others wait for.

A process waits for hours where another one writes reports or counts boxes
meanwhile, so waiting alone is no error. But it should be told, and whoever
will never come should not be waited for.
"""
from __future__ import annotations

import json
import math
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import NamedTuple, Optional

import torch.distributed as torch_dist

INTERVAL = 30.0  # seconds
# Seconds. Far more than a library keeps other threads from running.
PATIENCE = 600.0
_GRACE = 2.0  # seconds


class Sign(NamedTuple):
    """What a process says of itself.

    ``number`` counts the signs, ``step`` the exchanges with all others
    (collectives) that it began; ``place`` is the function that it is in.
    """
    number: int
    step: int
    place: str
    host: str
    is_last: bool = False


class Heartbeat:
    """Gives signs of life in a thread, and looks at those of the others.

    Whoever began fewer exchanges than another process keeps it waiting. If
    this goes on, the first of those who wait says so on stderr: who, for how
    long, and in what that one is. A process that gives no sign, or that has
    ended before an exchange that others have begun, will never come: this
    process ends then, with status 1, for nothing else interrupts an exchange.

    Time is counted in signs of its own, so that nobody is blamed when all of
    them were suspended.

    Args:
        interval (float): Seconds between two signs.
        patience (float): Seconds after which something is said or done, and
            between two remarks.
    """

    def __init__(self, interval: float = INTERVAL,
                 patience: float = PATIENCE) -> None:
        self.rank = torch_dist.get_rank()
        self.size = torch_dist.get_world_size()
        self.interval = interval
        self.patience = patience
        self._group = torch_dist.group.WORLD
        self._store = _own_store()
        self._number = 0
        self._give()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, and let the others know that nothing is to be expected.

        Process 0, in which the store may live, stays a moment for their last
        signs.
        """
        self._stop.set()
        self._thread.join(_GRACE)
        if self._thread.is_alive():  # the store does not answer
            return
        with suppress(RuntimeError):  # it is gone
            self._give(is_last=True)
            deadline = time.monotonic() + _GRACE
            while self.rank == 0 and time.monotonic() < deadline and not all(
                    sign and sign.is_last for sign in self._signs()):
                time.sleep(.01)

    def _run(self) -> None:
        limit = math.ceil(self.patience / self.interval)
        before: list[Optional[Sign]] = [None] * self.size
        silent, idle = [0] * self.size, [0] * self.size
        ticks = told = 0
        while not self._stop.wait(self.interval):
            ticks += 1
            try:
                self._give()
                signs = self._signs()
            except Exception:  # nobody can be heard: all of them are silent
                signs = before
            for rank, (old, new) in enumerate(zip(before, signs)):
                silent[rank] = 0 if new != old else silent[rank] + 1
                idle[rank] = 0 if new and (
                    old is None or new.step != old.step) else idle[rank] + 1
            before = signs
            own = signs[self.rank]
            late = [
                rank for rank, sign in enumerate(signs)
                if own and sign and sign.step < own.step and
                min(idle[rank], idle[self.rank]) >= limit
            ]
            gone = [
                rank for rank, sign in enumerate(signs)
                if rank != self.rank and (
                    rank in late if sign and sign.is_last else
                    silent[rank] >= limit)
            ]
            if gone:
                self._end(gone, signs)
            is_first = own and self.rank == min(
                r for r, sign in enumerate(signs)
                if sign and sign.step >= own.step)
            if late and is_first and ticks - told >= limit:
                told = ticks
                for rank in late:
                    _say(f'process {self.rank} has been waiting for process '
                         f'{rank} on {signs[rank].host} for '
                         f'{self._duration(idle[self.rank])}; that one is in '
                         f'{signs[rank].place}.')

    def _end(self, gone: list[int], signs: list[Optional[Sign]]) -> None:
        """End this process; the first one that is left says why."""
        if self.rank == min(set(range(self.size)) - set(gone)):
            rank = gone[0]
            host = f' on {signs[rank].host}' if signs[rank] else ''
            if signs[rank] and signs[rank].is_last:
                why = 'has ended while others wait for it: its own message ' \
                    'says why'
            else:
                minutes = self._duration(math.ceil(
                    self.patience / self.interval))
                why = f'has given no sign of life for {minutes}: it hangs, ' \
                    'or it or its machine is gone'
            _say(f'error: process {rank}{host} {why}. The others end, too: '
                 'run the same command again, with --resume where it has '
                 'that.')
        os._exit(1)

    def _duration(self, ticks: int) -> str:
        seconds = ticks * self.interval
        return f'{seconds / 60:.0f} minutes' if seconds >= 120 else \
            f'{seconds:.0f} seconds'

    def _give(self, is_last: bool = False) -> None:
        self._number += 1
        try:
            step = self._group._get_sequence_number_for_group()
        except (AttributeError, RuntimeError):  # a backend that does not count
            step = 0
        self._store.set(str(self.rank), json.dumps(Sign(
            self._number, step, _place(), socket.gethostname(), is_last)))

    def _signs(self) -> list[Optional[Sign]]:
        """The last sign of each process; None of one that gave none yet."""
        # getting what is not there would wait for it
        keys = [str(rank) for rank in range(self.size)]
        return [Sign(*json.loads(self._store.get(key)))
                if self._store.check([key]) else None for key in keys]


def _own_store() -> torch_dist.Store:
    """The store of the group, by a connection of its own: the other one is
    locked while the main thread waits for something in it."""
    store = torch_dist.distributed_c10d._get_default_store()
    while hasattr(store, 'underlying_store'):
        store = store.underlying_store
    if isinstance(store, torch_dist.TCPStore):
        store = torch_dist.TCPStore(
            store.host, store.port, is_master=False, wait_for_workers=False)
    return torch_dist.PrefixStore('mmal_heartbeat', store)


def _place() -> str:
    """The function that the main thread is in: of mmal, and the innermost
    one if that is another's."""
    frame = sys._current_frames().get(threading.main_thread().ident)
    innermost = None
    while frame is not None:
        module = str(frame.f_globals.get('__name__'))
        name = f'{module}.{frame.f_code.co_name}'
        innermost = innermost or name
        if module.startswith('mmal.') and module != 'mmal.dist':
            return name if name == innermost else f'{name} ({innermost})'
        frame = frame.f_back
    return innermost or 'no function'


def _say(text: str) -> None:
    with suppress(OSError, ValueError):  # nobody reads it any more
        print(f'mmal: {text}', file=sys.stderr, flush=True)
