"""Benchmarks on the tiny data set, whose runs are forks of this process."""
import ctypes
import os
import signal
import sys
import traceback

from mmengine.utils import ManagerMixin

from helpers.forks import forget_singletons
from helpers.tiny import tiny_active_learning, tiny_config
from mmal.analysis.benchmark import BenchmarkDir, BenchmarkTable, run_cells
from mmal.commands import main

METHODS = dict(
    random=dict(scorer=dict(type='mmal.RandomScorer')),
    entropy=dict(scorer=dict(type='mmal.EntropyScorer')),
    # asks for what no FCOS predicts
    mixture=dict(scorer=dict(type='mmal.MixtureUncertaintyScorer')))


def make_table(folder, methods=('random', 'entropy'), seeds=(0, 1),
               epochs=6, **block):
    """Write a table of one task and what it names; returns its path."""
    task = tiny_config(os.path.join(folder, 'data'), epochs=epochs)
    task.train_cfg.val_interval = epochs
    task.default_hooks.checkpoint.interval = epochs
    task.optim_wrapper.optimizer.lr = 5e-3
    # so that a detector that has hardly learned has an AP above 0
    task.model.test_cfg.score_thr = 0.0
    task.active_learning = tiny_active_learning(**block)
    task.dump(os.path.join(folder, 'task.py'))
    for name in methods:
        with open(os.path.join(folder, f'{name}.py'), 'w') as f:
            method = dict(METHODS[name], selector=dict(type='mmal.TopN'))
            f.write(f'al_method = {method}\n')
    path = os.path.join(folder, 'table.py')
    parts = {name: f'{name}.py' for name in methods}
    with open(path, 'w') as f:
        f.write(f"benchmark = dict(tasks=dict(tiny='task.py'), "
                f'methods={parts}, seeds={list(seeds)})\n')
    return path


def run_table(path, work_dir, jobs=2, only=()):
    """All cells of a table, in forks."""
    table = BenchmarkTable(path)
    run_cells(table, table.cells(only), BenchmarkDir(work_dir), jobs, Fork,
              poll=.02)
    return table


class Fork:
    """A run in a fork of this process, which ends with it."""

    def __init__(self, arguments, log):
        sys.stdout.flush()
        sys.stderr.flush()
        self.status = None
        self.pid = os.fork()
        if self.pid == 0:
            self._run(arguments, log)

    @staticmethod
    def _run(arguments, log):
        status = 1
        try:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # with the parent
            file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(file, 1)
            os.dup2(file, 2)
            sys.stdout = open(1, 'w', closefd=False)
            sys.stderr = open(2, 'w', closefd=False)
            forget_singletons(ManagerMixin)
            status = main(arguments)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def poll(self):
        if self.status is None and (
                done := os.waitpid(self.pid, os.WNOHANG))[0]:
            self.status = os.waitstatus_to_exitcode(done[1])
        return self.status

    def terminate(self):
        os.kill(self.pid, signal.SIGTERM)

    def wait(self):
        if self.status is None:
            self.status = os.waitstatus_to_exitcode(
                os.waitpid(self.pid, 0)[1])
        return self.status
