"""What a user can put right is one message; the exit status tells scripts."""
from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from mmal.compat import versions

EXPECTED = (ValueError, OSError, FloatingPointError)


def run_or_explain(work: Callable[[], Any], name: str) -> int:
    """Run a command; say in one message what a user can put right.

    The traceback is shown as well if the environment variable ``MMAL_DEBUG``
    is set. Nothing is imported here that the command has not imported: an
    error of a module, and a group of processes, that nobody imported cannot
    be there.

    Args:
        work (callable): Takes nothing.
        name (str): The command's name.

    Returns:
        int: The exit status: 0, 1 after an error, 3 when people must label
        images before it can go on.
    """
    try:
        work()
        return 0
    except _labels_pending() as e:
        _say(f'{name}: {e}', e)
        return 3
    except EXPECTED as e:
        _say_error(name, str(e), e)
        return 1
    except ModuleNotFoundError as e:
        # of torch and the OpenMMLab packages the check knows what to install
        if (e.name or '').split('.')[0] not in {
                r.module for r in versions.REQUIREMENTS}:
            raise
        try:
            versions.check()
        except ImportError as missing:
            _say_error(name, str(missing), e)
            return 1
        raise
    finally:
        if 'mmal.dist' in sys.modules:
            sys.modules['mmal.dist'].close_dist()


def _labels_pending() -> tuple[type[Exception], ...]:
    oracle = sys.modules.get('mmal.pool.oracle')
    return (oracle.LabelsPending, ) if oracle else ()


def _say_error(name: str, message: str, error: Exception) -> None:
    if os.environ.get('MMAL_DEBUG'):
        traceback.print_exc()
    _say(f'{name}: error: {message}\n(MMAL_DEBUG=1 shows where it came from.)',
         error)


def _say(message: str, error: Exception) -> None:
    """Print once what all processes know, and always what only one does."""
    dist = sys.modules.get('mmengine.dist')
    if dist is None or dist.is_main_process():
        print(message, file=sys.stderr, flush=True)
    elif not getattr(error, 'everywhere', False):
        print(f'[process {dist.get_rank()}] {message}', file=sys.stderr,
              flush=True)
