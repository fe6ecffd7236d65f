"""What a benchmark will do, without doing it."""
from __future__ import annotations

from collections.abc import Sequence

from mmal.engine.plan import plan_run
from mmal.engine.schema import clip
from mmal.reporting import NumberTable
from .cell import BenchmarkDir, Cell
from .processes import configs, first_training, is_finished
from .table import BenchmarkTable


def plan(table: BenchmarkTable, cells: Sequence[Cell],
         folder: BenchmarkDir) -> str:
    """Check each task with each method, and count what is left to do.

    Nothing is trained or written.

    Args:
        table (BenchmarkTable): The table.
        cells (sequence[Cell]): The cells to run.
        folder (BenchmarkDir): Where finished ones would be.

    Returns:
        str: The rounds of each task, a table of the methods, and how many
        trainings there are.
    """
    by_cell = configs(table, cells)
    left = [c for c, cfg in by_cell.items()
            if not is_finished(folder.run(c), cfg)]
    # the rounds of a task are those of its first method that can be run
    rounds_of: dict[str, str] = {}
    rows = []
    for task, method in dict.fromkeys((c.task, c.method) for c in cells):
        of_both = [c for c in cells if (c.task, c.method) == (task, method)]
        cfg = by_cell[of_both[0]]
        cfg.work_dir = folder.run(of_both[0]).path
        cfg.launcher = 'none'
        try:
            rounds_of.setdefault(task, plan_run(cfg))
            check = 'fine'
        except (ValueError, OSError) as e:
            check = clip(str(e), 300)
        rows.append((task, method, len(of_both),
                     sum(c not in left for c in of_both), check))
    parts = [f'{task}:\n{rounds}' for task, rounds in rounds_of.items()]
    parts.append(NumberTable.make(
        'cells', dict(task=0, method=0, cells=0, finished=0, check=0),
        rows).text())
    rounds = sum(by_cell[c].active_learning.rounds for c in left)
    first = len({first_training(by_cell[c]) for c in left})
    parts.append(
        f'{len(left)} cells are left, with {rounds} rounds at most; their '
        f'{len(left)} first rounds are {first} trainings.')
    return '\n\n'.join(parts)
