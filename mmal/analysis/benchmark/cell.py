"""One cell of a benchmark, and where its files are."""
from __future__ import annotations

import os.path as osp
from dataclasses import dataclass

from mmal.pool.layout import WorkDir


@dataclass(frozen=True)
class Cell:
    """One run of a benchmark.

    Args:
        task (str): The task.
        method (str): The method.
        seed (int): The seed.
    """
    task: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        """As ``--only`` takes it."""
        return f'{self.task}/{self.method}/{self.seed}'


@dataclass(frozen=True)
class BenchmarkDir:
    """The files of a benchmark.

    Args:
        path (str): The folder.
    """
    path: str

    def config(self, cell: Cell) -> str:
        """The config of a task and a method, for ``mmal train``."""
        return osp.join(self.path, 'configs', cell.task, f'{cell.method}.py')

    def run(self, cell: Cell) -> WorkDir:
        """The work folder of a cell, which ``mmal report`` can read."""
        return WorkDir(osp.join(
            self.path, 'runs', cell.task, f'{cell.method}_{cell.seed}'))

    def log(self, cell: Cell) -> str:
        """What the run of a cell printed."""
        return osp.join(
            self.path, 'logs', cell.task, f'{cell.method}_{cell.seed}.log')

    def record(self, cell: Cell) -> str:
        """With which code a cell was run, and the error that it ended
        with."""
        return osp.join(
            self.path, 'logs', cell.task, f'{cell.method}_{cell.seed}.json')

    @property
    def first_trainings(self) -> str:
        """The trainings of first rounds, which methods share."""
        return osp.join(self.path, 'first_trainings')

    @property
    def page(self) -> str:
        """All tables."""
        return osp.join(self.path, 'benchmark.md')

    @property
    def cells(self) -> str:
        """A row for each cell."""
        return osp.join(self.path, 'cells.csv')

    @property
    def rounds(self) -> str:
        """A row for each round of each finished cell."""
        return osp.join(self.path, 'rounds.csv')

    @property
    def summary(self) -> str:
        """A row for each method on each task."""
        return osp.join(self.path, 'summary.csv')

    def task(self, task: str) -> str:
        """The folder of the tables and curves of a task."""
        return osp.join(self.path, 'tasks', task)
