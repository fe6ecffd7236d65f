"""Programs run in forks of this process, which has imported everything.

A new interpreter spends some seconds on imports before it does anything.
Where there is a GPU, files run in new interpreters all the same: CUDA and the
threads of autograd do not survive a fork.
"""
from __future__ import annotations

import functools
import importlib
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import astuple, dataclass
from typing import Callable, Optional, Union

import torch
from mmengine.utils import ManagerMixin

from helpers import pretended_gpu

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))


@dataclass(frozen=True)
class Kill:
    """The moment at which a process kills itself, as a power cut would.

    Args:
        module (str): Where to find the function.
        function (str): Its name there, e.g. 'Scores.save'.
        call (int): At which call of it, from 1.
        when (str): 'before' or 'after' that call.
        path (str): Count only calls whose last argument ends so.
        signal (str): What it sends to itself; after another signal than this
            one it may go on.
    """
    module: str
    function: str
    call: int = 1
    when: str = 'before'
    path: str = ''
    signal: str = 'SIGKILL'

    def arm(self) -> None:
        """Put the trap into the function, in this process."""
        owner = importlib.import_module(self.module)
        *path, name = self.function.split('.')
        for part in path:
            owner = getattr(owner, part)
        original, calls = getattr(owner, name), []

        @functools.wraps(original)
        def deadly(*args, **kwargs):
            is_meant = not self.path or str(args[-1]).endswith(self.path)
            calls.extend([1] * is_meant)
            if not is_meant or len(calls) != self.call:
                return original(*args, **kwargs)
            if self.when == 'after':
                result = original(*args, **kwargs)
            os.kill(os.getpid(), getattr(signal, self.signal))
            return result if self.when == 'after' else original(
                *args, **kwargs)

        setattr(owner, name, deadly)


Work = Union[Callable[[], Optional[int]], str]


def fork_run(work: Work,
             *argv,
             kill: Optional[Kill] = None,
             env: Optional[dict] = None,
             timeout: float = 300) -> subprocess.CompletedProcess:
    """Run a python file, or a function, in a fork of this process.

    Args:
        work (str | callable): The file, which runs as ``python FILE ARGV``
            would; or a function that takes nothing and returns the exit
            status or None.
        *argv: Arguments of the file.
        kill (Kill, optional): When the process dies.
        env (dict, optional): Further environment variables.
        timeout (float): Seconds until the process is ended.

    Returns:
        CompletedProcess: ``returncode``, ``stdout`` and ``stderr`` as
        :func:`subprocess.run` gives them.
    """
    return fork_together(
        work, *argv, number=1, kill=kill, env=env, timeout=timeout)[0]


def fork_two(work: Work, *argv, **kwargs) -> list[subprocess.CompletedProcess]:
    """The same in two processes that can find each other, as torchrun does.

    Returns:
        list[CompletedProcess]: That of rank 0 and that of rank 1.
    """
    return fork_world(2, work, *argv, **kwargs)


def fork_world(number: int, work: Work, *argv,
               **kwargs) -> list[subprocess.CompletedProcess]:
    """The same in some processes; a single one is no group of processes.

    Returns:
        list[CompletedProcess]: Those of all ranks.
    """
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    env = {} if number == 1 else dict(
        MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port),
        WORLD_SIZE=str(number), LOCAL_WORLD_SIZE=str(number))
    if short_of_gpus(number):
        env['CUDA_VISIBLE_DEVICES'] = '-1'
    return fork_together(work, *argv, number=number, env=env, **kwargs)


def short_of_gpus(number: int) -> bool:
    """Whether so many processes must share the CPUs, as each wants a GPU."""
    return torch.cuda.is_available() and number > torch.cuda.device_count()


def fork_together(work: Work,
                  *argv,
                  number: int,
                  kill: Optional[Kill] = None,
                  env: Optional[dict] = None,
                  timeout: float = 300) -> list[subprocess.CompletedProcess]:
    """:func:`fork_run` in some processes at once, told apart by RANK."""
    args = [work, *map(str, argv)]
    with tempfile.TemporaryDirectory() as folder:
        pids = []
        for rank in range(number):
            ranks = {} if number == 1 else dict(
                RANK=str(rank), LOCAL_RANK=str(rank))
            pids.append(
                _start(args, kill, {**(env or {}), **ranks},
                       os.path.join(folder, str(rank))))
        statuses = _wait(pids, timeout)
        outputs = [
            [_read(os.path.join(folder, f'{rank}.{name}'))
             for name in ('out', 'err')] for rank in range(number)
        ]
    if None in statuses:
        raise subprocess.TimeoutExpired(args, timeout, *outputs[0])
    return [
        subprocess.CompletedProcess(
            args, os.waitstatus_to_exitcode(status), *texts)
        for status, texts in zip(statuses, outputs)
    ]


def _wait(pids: list[int], timeout: float) -> list[Optional[int]]:
    """The statuses; None where the time was up. No process is left."""
    deadline = time.monotonic() + timeout
    statuses: dict[int, int] = {}
    pause = 0.002
    while len(statuses) < len(pids) and time.monotonic() < deadline:
        for pid in pids:
            if pid not in statuses and (done := os.waitpid(
                    pid, os.WNOHANG))[0]:
                statuses[pid] = done[1]
        time.sleep(pause)
        pause = min(.05, 1.5 * pause)
    for pid in pids:
        try:  # with the workers that it may have left
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if pid not in statuses:
            os.waitpid(pid, 0)
    return [statuses.get(pid) for pid in pids]


def _start(args: list, kill: Optional[Kill], env: dict, output: str) -> int:
    """Start a process that writes to two files; returns its id."""
    files = [
        os.open(f'{output}.{name}', os.O_WRONLY | os.O_CREAT, 0o600)
        for name in ('out', 'err')
    ]
    try:
        if torch.cuda.is_available() and not callable(args[0]):
            code = 'import sys; from helpers.forks import main; main(sys.argv)'
            trap = [] if kill is None else [str(v) for v in astuple(kill)]
            gpus = pretended_gpu.environment(
                torch.cuda.device_count(),
                paths=(ROOT, os.path.join(ROOT, 'tests')))
            return subprocess.Popen(
                [sys.executable, '-c', code, str(len(trap)), *trap, *args],
                stdout=files[0], stderr=files[1], cwd=ROOT,
                start_new_session=True,
                env={**os.environ, **gpus, **env}).pid
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            _be_the_child(args, kill, env, files)
        return pid
    finally:
        for file in files:
            os.close(file)


def main(argv: list[str]) -> None:
    """What a new interpreter does: arm the trap, then run the file."""
    import mmal  # noqa: F401  before mmdet: it supplies operators
    length = int(argv[1])
    trap, args = argv[2:2 + length], argv[2 + length:]
    if trap:
        Kill(*trap[:2], int(trap[2]), *trap[3:]).arm()
    sys.exit(_status_of(args))


def _be_the_child(args: list, kill: Optional[Kill], env: dict,
                  files: list[int]) -> None:
    """What the fork does; it never returns to pytest."""
    status = 1
    try:
        os.setpgid(0, 0)
        os.dup2(files[0], 1)
        os.dup2(files[1], 2)
        # pytest has put objects of its own in their places
        sys.stdout = open(1, 'w', closefd=False)
        sys.stderr = open(2, 'w', closefd=False)
        os.environ.update(env)
        os.chdir(ROOT)
        forget_singletons(ManagerMixin)
        if kill is not None:
            kill.arm()
        status = _status_of(args)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def _status_of(args: list) -> int:
    work, *argv = args
    try:
        if callable(work):
            return work() or 0
        sys.argv = [work, *argv]
        runpy.run_path(work, run_name='__main__')
        return 0
    except SystemExit as e:
        if isinstance(e.code, str):
            print(e.code, file=sys.stderr)
            return 1
        return e.code or 0


def forget_singletons(kind: type) -> None:
    """mmengine finds loggers, scopes and the like by name: a new process
    has none, and a log handler writes to the stream that it was made with."""
    kind._instance_dict.clear()
    for child in kind.__subclasses__():
        forget_singletons(child)


def _read(path: str) -> str:
    with open(path, errors='replace') as f:
        return f.read()
