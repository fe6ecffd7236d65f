"""Tasks x methods x seeds: run them all, and merge them into one page."""
from __future__ import annotations

import argparse

from .options import whole

EXAMPLES = """examples:
  mmal benchmark configs/benchmarks/leaderboard.yml --dry-run
  mmal benchmark configs/benchmarks/leaderboard.yml --jobs 8
  mmal benchmark configs/benchmarks/leaderboard.yml \\
      --only neudet/random neudet/isal/0 --work-dir runs/leaderboard
  mmal benchmark configs/benchmarks/leaderboard.yml --tables

The same command goes on with what was stopped or killed, at whatever moment,
and tries again what has failed. The exit status is 1 where a cell has failed.
docs/benchmark.md describes tables.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to ``parser``."""
    parser.add_argument('table', help='a config with a block benchmark')
    parser.add_argument(
        '--jobs',
        type=whole(1),
        metavar='N',
        help='runs at a time, each with one thread (default: one for each '
        'core, or 1 where there is a GPU)')
    parser.add_argument(
        '--work-dir',
        help='where everything goes (default: work_dirs/<table>)')
    parser.add_argument(
        '--only',
        nargs='+',
        action='extend',
        default=[],
        metavar='TASK/METHOD/SEED',
        help='run these cells alone; the last parts may be left out, and * '
        'stands for anything. The tables still have all cells')
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        '--dry-run',
        action='store_true',
        help='say what would be run, check each task with each method, and '
        'stop')
    how.add_argument(
        '--tables',
        action='store_true',
        help='run nothing, and write the tables of what is there')


def run(args: argparse.Namespace) -> None:
    """Run the cells, and write the tables."""
    import os
    import os.path as osp

    import torch

    from mmal.analysis.benchmark import (
        BenchmarkDir,
        BenchmarkTable,
        outcomes,
        plan,
        run_cells,
        short_table,
        write_page,
    )
    from mmal.engine.cli import prepare_process
    from mmal.engine.lease import release_lease, take_lease
    from mmal.engine.stop_request import request
    from mmal.pool.layout import WorkDir

    prepare_process()
    table = BenchmarkTable(args.table)
    cells = table.cells(args.only)
    folder = BenchmarkDir(args.work_dir or osp.join('work_dirs', table.name))
    if args.dry_run:
        print(plan(table, cells, folder))
        return
    if not args.tables:
        # the cores that this process may use, where the system tells
        cores = len(os.sched_getaffinity(0)) if hasattr(
            os, 'sched_getaffinity') else os.cpu_count() or 1
        jobs = args.jobs or (1 if torch.cuda.is_available() else cores)
        work = WorkDir(folder.path)
        take_lease(work)
        try:
            with request.on_signals():
                run_cells(table, cells, folder, jobs)
        finally:
            release_lease(work)
    results = outcomes(table, folder)
    for task in table.settings.tasks:
        short = short_table(table, results, task, ['boxes'])
        if short.rows:
            print(f'{short.text()}\n')
    failed = [o for o in results if o.status == 'failed']
    for outcome in failed:
        print(f'{outcome.cell.name} failed: {outcome.error} '
              f'({folder.log(outcome.cell)})')
    print(write_page(table, results, folder))
    tried = [o for o in failed if o.cell in cells]
    if tried and not args.tables:
        raise ValueError(
            f'{len(tried)} of {len(cells)} cells failed, as said above. The '
            'same command tries those again that have not ended.')
