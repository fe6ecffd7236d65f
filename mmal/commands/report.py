"""Merge runs: mean and spread over seeds, what a method saves and gains."""
from __future__ import annotations

import argparse

from .options import add_runs

EXAMPLES = """examples:
  mmal report work_dirs/*
  mmal report work_dirs/* --finished --metric AP50 --out report
  mmal report --group isal=runs/isal_0,runs/isal_1 \\
      --group random=runs/random_0,runs/random_1 --against random
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to ``parser``."""
    add_runs(parser)
    parser.add_argument(
        '--metric',
        default='AP',
        help="AP, AP50, AP75 or a key of curve.json's metrics (default: AP)")
    parser.add_argument(
        '--target',
        type=float,
        help='value to reach (default: what the other method ends with)')
    parser.add_argument(
        '--method', help='compare this method only with the others')
    parser.add_argument(
        '--against',
        metavar='METHOD',
        help='compare with this method only, and at the costs of its rounds '
        '(default: with each, and at the costs of the last)')
    parser.add_argument(
        '--by',
        choices=('boxes', 'images', 'hours'),
        default='boxes',
        help='cost over which the mean of a curve is taken; with hours, those '
        "of labelling by each run's cost model, methods are compared at equal "
        'hours too (default: boxes)')
    parser.add_argument(
        '--finished',
        action='store_true',
        help='leave out runs that have not ended')
    parser.add_argument(
        '--out', help='folder for merged.md, curves.png and the csv files')


def run(args: argparse.Namespace) -> None:
    """Print the tables, and write them if a folder is given."""
    from mmal.analysis.run_groups import finished, group_runs, parse_groups
    from mmal.reporting import MergedCurve, merged_tables, write_merged

    groups = parse_groups(args.group)
    given = [*args.runs, *(p for g in groups.values() for p in g)]
    kept = set(finished(given) if args.finished else given)
    if not kept:
        raise ValueError('there are no runs to report on'
                         f'{": none is finished" if given else ""}.')
    groups = {n: [p for p in g if p in kept] for n, g in groups.items()}
    methods = group_runs([p for p in args.runs if p in kept],
                         {n: g for n, g in groups.items() if g})

    curves = [MergedCurve(n, r, args.metric) for n, r in methods.items()]
    notes = [f'{p} is not finished and left out.' for p in given
             if p not in kept]
    notes += [note for curve in curves for note in curve.notes]
    tables = merged_tables(curves, args.target, args.method,
                           args.against, args.by)
    print('\n\n'.join(table.text() for table in tables.values()))
    print('\n' + '\n'.join(notes))
    if args.out:
        print(write_merged(curves, tables, notes, args.out, args.by))
