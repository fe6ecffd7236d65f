"""The cells of a benchmark, some at a time, each in a process of its own."""
from __future__ import annotations

import copy
import os
import os.path as osp
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Optional, Protocol

from mmengine.config import Config
from tqdm import tqdm

from mmal.engine.fingerprint import digest, fingerprint
from mmal.engine.shared_trainings import training_fingerprint
from mmal.fileio import read_json, write_json, write_text
from mmal.pool import State
from mmal.pool.layout import WorkDir
from mmal.reporting import Curve
from .cell import BenchmarkDir, Cell
from .table import BenchmarkTable

_LOG_END = 20_000  # bytes of a log in which the error is looked for
_RUN = 'import sys; from mmal.commands import main; sys.exit(main())'
# PR_SET_PDEATHSIG of <sys/prctl.h> with SIGKILL, unless it is too late
_END_WITH_PARENT = (
    'import ctypes, os; ctypes.CDLL(None).prctl(1, 9); '
    'os.getppid() == {parent} or os._exit(137)')


class Process(Protocol):
    """What is asked of the process of a run."""

    def poll(self) -> Optional[int]:
        """The exit status; None while it goes on."""

    def terminate(self) -> None:
        """Ask it to end, as SIGTERM does."""

    def wait(self) -> int:
        """The exit status, when it has ended."""


@dataclass(frozen=True)
class _Job:
    """A cell that is to be run.

    Args:
        cell (Cell): The cell.
        training (str): Equal for cells whose first trainings are equal.
        rounds (int): How many rounds it has at most.
    """
    cell: Cell
    training: str
    rounds: int


def run_cells(table: BenchmarkTable,
              cells: Sequence[Cell],
              folder: BenchmarkDir,
              jobs: int,
              launch: Optional[Callable[[Sequence[str], str], Process]] = None,
              poll: float = 0.5) -> None:
    """Run what is not finished of some cells.

    Each cell is ``mmal train --resume`` in a work folder of its own, so that
    what was killed, with the benchmark or alone, is gone on with. A cell that
    fails leaves its error in :meth:`BenchmarkDir.record`, and the others go
    on. Of the cells whose first trainings are equal one goes first, and the
    others take its training (see
    :class:`~mmal.engine.shared_trainings.SharedTrainings`); meanwhile cells
    of other seeds and tasks are run.

    Args:
        table (BenchmarkTable): Which configs the cells have.
        cells (sequence[Cell]): The cells, in the order of their turns.
        folder (BenchmarkDir): Where everything goes.
        jobs (int): Processes at a time, >= 1.
        launch (callable, optional): Starts a process from the arguments of
            ``mmal`` and the file of its log. Default: `start_training`.
        poll (float): Seconds between two looks at the processes.
    """
    launch = launch or start_training
    waiting = _unfinished(table, cells, folder)
    running: dict[_Job, tuple[Process, int]] = {}  # and where its log begins
    code, done = code_version(), len(cells) - len(waiting)
    # tqdm's own thread would not survive the forks of a launch
    tqdm.monitor_interval = 0
    bar = tqdm(
        desc='rounds', unit='round', total=sum(j.rounds for j in waiting),
        initial=sum(_rounds_done(folder.run(j.cell)) for j in waiting),
        mininterval=.5 if sys.stderr.isatty() else 30)
    passed = 0  # rounds of cells that have ended, also of those not reached
    try:
        while waiting or running:
            for job in _ready(waiting, running, folder, jobs):
                waiting.remove(job)
                running[job] = _start(job.cell, folder, launch, code)
            time.sleep(poll)
            for job, (process, log_begin) in list(running.items()):
                status = process.poll()
                if status is None:
                    continue
                del running[job]
                done, passed = done + 1, passed + job.rounds
                _finish(job.cell, folder, status, log_begin)
                bar.write(f'{done} of {len(cells)}: {job.cell.name} ' + (
                    _result(folder.run(job.cell), table.settings.metric)
                    if status == 0 else f'failed, see '
                    f'{folder.log(job.cell)}'))
            bar.n = passed + sum(
                _rounds_done(folder.run(j.cell)) for j in (*waiting, *running))
            bar.set_postfix_str(f'{done} of {len(cells)} cells', refresh=False)
            bar.update(0)
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.wait()
        bar.close()


def start_training(arguments: Sequence[str], log: str) -> subprocess.Popen:
    """Start ``mmal`` with one thread.

    On Linux it ends with this process, even if that is killed: a run that
    nobody waits for would hold its work folder.

    Args:
        arguments (sequence[str]): Of ``mmal``.
        log (str): The file that gets what it prints, at its end.
    """
    code = _RUN
    if sys.platform == 'linux':
        code = f'{_END_WITH_PARENT.format(parent=os.getpid())}; {code}'
    with open(log, 'ab') as f:
        return subprocess.Popen(
            [sys.executable, '-c', code, *arguments],
            stdin=subprocess.DEVNULL, stdout=f, stderr=subprocess.STDOUT,
            env={**os.environ, 'OMP_NUM_THREADS': '1'})


def configs(table: BenchmarkTable,
            cells: Sequence[Cell]) -> dict[Cell, Config]:
    """The config of each cell, its seed included.

    Raises:
        FileNotFoundError, ValueError: See :meth:`BenchmarkTable.config`.
    """
    by_names: dict[tuple[str, str], Config] = {}
    out = {}
    for cell in cells:
        names = cell.task, cell.method
        if names not in by_names:
            by_names[names] = table.config(*names)
        cfg = copy.deepcopy(by_names[names])
        cfg.active_learning.seed = cell.seed
        out[cell] = cfg
    return out


def first_training(cfg: Config) -> str:
    """Equal for configs with equal first images and trainings."""
    initial = {key: value for key, value in fingerprint(cfg).items()
               if key.startswith('active_learning.initial.')}
    return digest({**training_fingerprint(cfg), **initial})


def is_finished(work: WorkDir, cfg: Config) -> bool:
    """Whether a run of this config has ended, with all its rounds."""
    if not osp.isfile(work.state):
        return False
    try:
        state, curve = State.load(work.state), Curve.load(work.curve)
    except (OSError, ValueError):
        return False  # the run says what is wrong with its files
    return (state.config_hash == digest(fingerprint(cfg))
            and curve.stopped is not None
            and not (curve.stopped == 'rounds'
                     and len(curve) < cfg.active_learning.rounds))


def code_version() -> str:
    """The commit of the code, ``+`` after it where files were changed since;
    empty where it is installed without its repository."""
    here = osp.dirname(osp.dirname(osp.abspath(__file__)))

    def git(*arguments: str) -> str:
        return subprocess.run(
            ['git', '-C', here, *arguments], capture_output=True, text=True,
            check=True).stdout.strip()

    try:
        # an environment inside of another project is not its code
        git('ls-files', '--error-unmatch', osp.abspath(__file__))
        changed = git('status', '--porcelain', '--untracked-files=no')
        return git('rev-parse', '--short=12', 'HEAD') + '+' * bool(changed)
    except (OSError, subprocess.CalledProcessError):
        return ''


def _unfinished(table: BenchmarkTable, cells: Sequence[Cell],
                folder: BenchmarkDir) -> list[_Job]:
    """The cells to run, their configs written."""
    jobs = []
    for cell, cfg in configs(table, cells).items():
        if is_finished(folder.run(cell), cfg):
            continue
        cfg.active_learning.pop('seed')  # of all seeds
        write_text(folder.config(cell), cfg.pretty_text)
        cfg.active_learning.seed = cell.seed
        jobs.append(_Job(cell, first_training(cfg),
                         cfg.active_learning.rounds))
    return jobs


def _ready(waiting: Sequence[_Job], running: dict, folder: BenchmarkDir,
           jobs: int) -> list[_Job]:
    """The cells whose turn it is: one of those that share a training, until
    its first round is done."""
    started = {job.training for job in running
               if not _rounds_done(folder.run(job.cell))}
    ready = []
    for job in waiting:
        if len(running) + len(ready) == jobs:
            break
        if job.training not in started:
            ready.append(job)
            if not _rounds_done(folder.run(job.cell)):
                started.add(job.training)
    return ready


def _start(cell: Cell, folder: BenchmarkDir, launch: Callable,
           code: str) -> tuple[Process, int]:
    """Start the run of a cell; also gives where its log begins."""
    record, log = folder.record(cell), folder.log(cell)
    before = read_json(record)['code'] if osp.isfile(record) else []
    write_json(record, dict(code=list(dict.fromkeys([*before, code]))))
    log_begin = osp.getsize(log) if osp.isfile(log) else 0
    return launch([
        'train', folder.config(cell), '--work-dir', folder.run(cell).path,
        '--seed', str(cell.seed), '--resume', '--shared-trainings',
        folder.first_trainings], log), log_begin


def _finish(cell: Cell, folder: BenchmarkDir, status: int,
            log_begin: int) -> None:
    """Keep the error of a run that failed."""
    if status == 0:
        return
    with open(folder.log(cell), 'rb') as f:
        f.seek(max(log_begin, osp.getsize(folder.log(cell)) - _LOG_END))
        text = f.read().decode(errors='replace')
    if status < 0:
        name = str(-status)
        with suppress(ValueError):
            name = signal.Signals(-status).name
        error = f'killed by {name}; SIGKILL often means that memory ran out'
    else:
        # what mmal explains, or the last line of a traceback
        explained = re.search(
            r'mmal train: error: (.*?)\n\(MMAL_DEBUG', text, re.S)
        lines = text.split('\n') if explained is None else [explained[1]]
        error = ' '.join(next(
            (line for line in reversed(lines) if line.strip()),
            f'exit status {status}').split())
    record = read_json(folder.record(cell))
    write_json(folder.record(cell), dict(record, error=error))


def _rounds_done(work: WorkDir) -> int:
    with suppress(ValueError):
        return len(Curve.load(work.curve, missing_ok=True))
    return 0  # a damaged curve, which the run makes again


def _result(work: WorkDir, metric: str) -> str:
    curve = Curve.load(work.curve)
    value = curve.records[-1].value(metric)
    shown = 'no value' if value is None else f'{value:.3f}'
    return f'{metric} {shown} after {len(curve)} rounds'
