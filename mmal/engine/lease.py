"""One process at a time in a work folder.

Two runs in one folder overwrite each other's checkpoints and end as neither.
The lease is a file that is made as a whole or not at all, which works on
shared file systems as well.
"""
from __future__ import annotations

import atexit
import glob
import json
import os
import os.path as osp
import socket
import threading
import time
from contextlib import suppress
from datetime import datetime
from typing import Optional

from mmal.pool.layout import WorkDir

_HEARTBEAT = 30.0  # seconds
_SILENT = 20 * _HEARTBEAT  # after which the holder may well be dead

_held: dict[str, threading.Event] = {}  # lease file -> stops its heartbeat


def take_lease(work: WorkDir) -> None:
    """Take a work folder for this process, until :func:`release_lease` or its
    end.

    The lease of a process of this machine that is no more, as after a kill,
    is taken over. Taking it again in the same process does nothing.

    Args:
        work (WorkDir): The folder; made if missing.

    Raises:
        ValueError: If another process has it; the message says who, and what
            to do if it is dead.
    """
    path = work.lease
    if path in _held:
        return
    os.makedirs(work.path, exist_ok=True)
    own = _self()
    # made beside it and linked: a reader never finds half a file, and only
    # one of several processes succeeds
    draft = f'{path}.{own["host"]}.{own["pid"]}'
    with open(draft, 'w', encoding='utf-8') as f:
        json.dump(own, f)
    try:
        while not _place(draft, path):
            if _replace_dead(path, draft):
                break
    finally:
        with suppress(FileNotFoundError):  # it has become the lease
            os.unlink(draft)
    # those of processes of this machine that were killed in these lines
    for left in glob.glob(f'{glob.escape(path)}.{glob.escape(own["host"])}.*'):
        pid = left.rpartition('.')[2]
        if pid.isdigit() and _started(int(pid)) is None:
            with suppress(FileNotFoundError):
                os.unlink(left)
    stop = _held[path] = threading.Event()
    threading.Thread(target=_beat, args=(path, stop), daemon=True).start()
    atexit.register(release_lease, work)


def release_lease(work: WorkDir) -> None:
    """Give a work folder back; nothing if this process does not have it."""
    stop = _held.pop(work.lease, None)
    if stop is None:
        return
    stop.set()
    holder = _read(work.lease)
    if holder is not None and holder['pid'] == os.getpid():
        with suppress(FileNotFoundError):
            os.unlink(work.lease)


def _place(draft: str, path: str) -> bool:
    """Put a lease where there is none; whether it worked."""
    try:
        os.link(draft, path)
        return True
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        with open(draft, 'rb') as f:
            content = f.read()
    try:
        with open(path, 'xb') as f:
            f.write(content)
        return True
    except FileExistsError:
        return False


def _replace_dead(path: str, draft: str) -> bool:
    """Put a lease in the place of a dead holder's; whether it worked.

    Only processes of the holder's machine know that it is dead. The lock on
    its lease lets one of them at a time look and replace, and as there is a
    lease all the time, nobody finds the place free in between.

    Raises:
        ValueError: If the holder lives.
    """
    # a shared file system may lock only what is open for writing
    mode = 'r+b' if os.access(path, os.W_OK) else 'rb'
    with suppress(FileNotFoundError), open(path, mode) as lease:
        with suppress(ImportError, OSError):  # where there are no locks
            import fcntl
            fcntl.flock(lease, fcntl.LOCK_EX)
        if not osp.samestat(os.fstat(lease.fileno()), os.stat(path)):
            return False  # another process was faster
        _refuse_the_living(path)
        if os.name == 'nt':  # there an open file cannot be replaced
            lease.close()
        os.replace(draft, path)
        return True
    return False


def _refuse_the_living(path: str) -> None:
    """Raise ValueError unless the holder of a lease is known to be dead."""
    holder = _read(path)
    if holder is None:
        return
    own = _self()
    if holder['host'] == own['host'] and (
            holder['boot'] != own['boot']
            or _started(holder['pid']) != holder['started']):
        return
    silence = 0.
    with suppress(OSError):
        silence = time.time() - os.stat(path).st_mtime
    text = (f'{osp.dirname(path)} is in use by process {holder["pid"]} on '
            f'{holder["host"]} since {holder["since"]}')
    if silence > _SILENT:
        text += (f', which gave its last sign of life {silence / 60:.0f} '
                 'minutes ago')
    raise ValueError(
        f'{text}. Wait for it, or choose another folder with --work-dir. If '
        f'that process is dead, remove {path} and start again.')


def _self() -> dict:
    """Who holds a lease that this process takes."""
    return dict(
        host=socket.gethostname(), pid=os.getpid(), boot=_boot_id(),
        started=_started(os.getpid()),
        since=datetime.now().isoformat(' ', 'seconds'))


def _read(path: str) -> Optional[dict]:
    """The holder in a lease; None if there is none, or nobody can tell."""
    try:
        with open(path, encoding='utf-8') as f:
            holder = json.load(f)
    except (OSError, ValueError):
        return None
    wanted = {'host', 'pid', 'boot', 'started', 'since'}
    if not isinstance(holder, dict) or not wanted <= set(holder):
        return None
    return holder


def _started(pid: int) -> Optional[str]:
    """When a process of this machine began, in its clock; None if there is no
    such process. Tells a process from a later one of the same number."""
    try:
        with open(f'/proc/{pid}/stat') as f:
            fields = f.read().rpartition(')')[2].split()
        # a zombie has ended, though nobody has looked at its status yet
        return None if fields[0] == 'Z' else fields[19]
    except OSError:
        pass
    if os.name == 'nt':  # there os.kill would end the process
        return 'unknown'
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass  # it is another user's
    return 'unknown' if not osp.exists('/proc/self/stat') else None


def _boot_id() -> str:
    """Changes when the machine starts; empty where nobody can tell."""
    with suppress(OSError):
        with open('/proc/sys/kernel/random/boot_id') as f:
            return f.read().strip()
    return ''


def _beat(path: str, stop: threading.Event) -> None:
    while not stop.wait(_HEARTBEAT):
        with suppress(OSError):
            os.utime(path)
