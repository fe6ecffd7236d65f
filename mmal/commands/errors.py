"""What a user can put right is one message; the exit status tells scripts."""
from __future__ import annotations

import codecs
import errno
import os
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any, Optional

from mmal.compat import versions

EXPECTED = (ValueError, OSError, FloatingPointError)
TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: a batch system may start it again
STOPPED_BY_USER = 130  # 128 + SIGINT, as shells count
NOBODY_READS = 141  # 128 + SIGPIPE

# What an error of the disk itself means; mistakes in names explain themselves.
_OF_THE_DISK = {
    errno.EIO: 'The disk or the network behind it has failed',
    errno.ENOSPC: 'The disk is full',
    errno.EDQUOT: 'Your share of the disk is used up',
    errno.EFBIG: 'The file is larger than the disk or ulimit -f allows',
    errno.EROFS: 'The disk can only be read',
    errno.EACCES: 'You have no right to do so',
    errno.EPERM: 'You have no right to do so',
}
# Texts of torch's errors that have no class of their own.
_OF_TORCH = (
    (r'DataLoader worker .*(exited unexpectedly|is killed by signal)',
     'a process that loads images was killed, usually because memory ran '
     'out: lower num_workers or batch_size of the data loaders, or give the '
     'job more memory'),
    (r'Connection (closed|reset) by peer|Broken pipe|Socket closed|'
     r'remote process exited|NCCL.*(timeout|remote error|aborted)|'
     r'Timed out waiting .* for (recv|send) operation',
     'another process of the group is gone, so this one cannot go on: its '
     'own message says why (without one it was killed, usually because '
     'memory ran out)'),
)
# Characters of tables and sentences, for a terminal that knows only ASCII.
_IN_ASCII = {'─': '-', '━': '-', '═': '=', '–': '-', '—': '-', '…': '...',
             '→': '->', '·': '*', '×': 'x', '²': '^2', '│': '|'}


def run_or_explain(work: Callable[[], Any],
                   name: str,
                   resumable: bool = False) -> int:
    """Run a command; say in one message what a user can put right.

    The traceback is shown as well if the environment variable ``MMAL_DEBUG``
    is set. Nothing is imported here that the command has not imported: an
    error of a module, and a group of processes, that nobody imported cannot
    be there.

    Args:
        work (callable): Takes nothing.
        name (str): The command's name.
        resumable (bool): Whether it has ``--resume``.

    Returns:
        int: The exit status: 0, 1 after an error, 3 when people must label
        images before it can go on, 75 after SIGTERM or SIGUSR1 where work
        can be gone on with, 130 after Ctrl-C, 141 when whoever read
        its output has gone.
    """
    write_what_can_be_written()
    again = ' Run the same command again with --resume.' if resumable else ''
    try:
        work()
        sys.stdout.flush()
        return 0
    except _stop_requested() as e:
        _say(f'{name}: {e}.{again}', e)
        return TRY_AGAIN
    except KeyboardInterrupt as e:
        _say(f'{name}: stopped.{again}', e)
        return STOPPED_BY_USER
    except BrokenPipeError as e:
        # python flushes once more when it ends, and would complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _say(f'{name}: stopped, since nobody reads its output any more.'
             f'{again}', e)
        return NOBODY_READS
    except _labels_pending() as e:
        _say(f'{name}: {e}', e)
        return 3
    except EXPECTED as e:
        message = str(e)
        meaning = _OF_THE_DISK.get(getattr(e, 'errno', None))
        if meaning and '--resume' not in message:
            message = f'{message}. {meaning}: put that right.{again}'
        _say_error(name, message, e)
        return 1
    except RuntimeError as e:
        meaning = _meaning_in_torch(e)
        if meaning is None:
            raise
        _say_error(name, f'{meaning}.{again}', e)
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


def write_what_can_be_written() -> None:
    """Let no character stop a message on a terminal that does not know it.

    Tables have lines and dashes that ASCII lacks; they become what looks
    alike, and everything else a question mark.
    """
    codecs.register_error('mmal.look_alike', _look_alike)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='mmal.look_alike')


def _look_alike(error: UnicodeError) -> tuple[str, int]:
    text = error.object[error.start:error.end]
    return ''.join(_IN_ASCII.get(c, '?') for c in text), error.end


def _meaning_in_torch(error: Optional[BaseException]) -> Optional[str]:
    """What an error, or one that it came from, means to a user."""
    while error is not None:
        for pattern, meaning in _OF_TORCH:
            if re.search(pattern, str(error)):
                return meaning
        error = error.__cause__ or error.__context__
    return None


def _labels_pending() -> tuple[type[Exception], ...]:
    oracle = sys.modules.get('mmal.pool.oracle')
    return (oracle.LabelsPending, ) if oracle else ()


def _stop_requested() -> tuple[type[BaseException], ...]:
    stop_request = sys.modules.get('mmal.engine.stop_request')
    return (stop_request.StopRequested, ) if stop_request else ()


def _say_error(name: str, message: str, error: Exception) -> None:
    if os.environ.get('MMAL_DEBUG'):
        traceback.print_exc()
    _say(f'{name}: error: {message}\n(MMAL_DEBUG=1 shows where it came from.)',
         error)


def _say(message: str, error: BaseException) -> None:
    """Print once what all processes know, and always what only one does."""
    dist = sys.modules.get('mmengine.dist')
    if dist is None or dist.is_main_process():
        print(message, file=sys.stderr, flush=True)
    elif not getattr(error, 'everywhere', False):
        print(f'[process {dist.get_rank()}] {message}', file=sys.stderr,
              flush=True)
