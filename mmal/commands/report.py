"""The page of each run, and runs merged: spread, what is saved and gained."""
from __future__ import annotations

import argparse
import os
import os.path as osp
import sys

from .options import add_map, add_runs, check_map

EXAMPLES = """examples:
  mmal report work_dirs/fcos_core-set_digits
  mmal report work_dirs/isal_0 --baseline work_dirs/random_*
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
        help="AP, AP50, AP75, accuracy or a key of curve.json's metrics "
        '(default: AP, or accuracy of classifiers)')
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
        '--img-prefix',
        metavar='DIR',
        help="the folder of the images, if they are not where the run's were")
    parser.add_argument(
        '--outside-images',
        action='store_true',
        help='show also images whose names lead out of that folder')
    parser.add_argument(
        '--baseline',
        nargs='*',
        metavar='RUN',
        help='work folders, as a rule of random runs with several seeds, '
        'whose mean curve each page shows beside its own; kept for the next '
        'pages, and forgotten by --baseline without any')
    add_map(parser, 'how the page lays out embeddings, kept for the next '
            'pages (at first: pca)')
    parser.add_argument(
        '--no-page',
        action='store_true',
        help='print the tables, and leave report.html of the runs as it is')
    parser.add_argument(
        '--out', help='folder for merged.md, curves.png and the csv files')


def run(args: argparse.Namespace) -> None:
    """Print the tables, make the pages again, and write the tables if a
    folder is given."""
    from mmal.analysis.run_groups import (
        finished,
        group_runs,
        parse_groups,
        read_run,
    )
    from mmal.pool.layout import WorkDir
    from mmal.reporting import (
        Comparison,
        MergedCurve,
        merged_tables,
        write_merged,
        write_report,
    )

    for path in args.baseline or ():
        read_run(path)  # says what is wrong with it
    check_map(args.map)
    groups = parse_groups(args.group)
    given = [*args.runs, *(p for g in groups.values() for p in g)]
    kept = set(finished(given) if args.finished else given)
    if not kept:
        why = ': none is finished' if given else \
            ': name them before --baseline, which takes all that follow it' \
            if args.baseline else ''
        raise ValueError(f'there are no runs to report on{why}.')
    notes = [f'{p} is not finished and left out.' for p in given
             if p not in kept]
    # a run that waits for its first labels has a page, and no curve yet
    begun = [p for p in given if p in kept and osp.isfile(WorkDir(p).state)
             and not osp.isfile(WorkDir(p).curve)]
    notes += [f'{p} has no finished round yet.' for p in begun]
    merged = kept.difference(begun)

    comparison = None
    if merged:
        groups = {n: [p for p in g if p in merged] for n, g in groups.items()}
        methods = group_runs([p for p in args.runs if p in merged],
                             {n: g for n, g in groups.items() if g})
        (first, *_), *_ = methods.values()
        metric = args.metric or first.curve.shown[0]
        curves = [MergedCurve(n, r, metric) for n, r in methods.items()]
        notes += [note for curve in curves for note in curve.notes]
        tables = merged_tables(curves, args.target, args.method,
                               args.against, args.by)
        print('\n\n'.join(table.text() for table in tables.values()))
        comparison = Comparison(curves, tables, notes)
    print('\n' + '\n'.join(notes))
    if args.out and comparison:
        print(write_merged(curves, tables, notes, args.out, args.by))
    elif args.out:
        print(f'nothing is written to {args.out}: no run has a finished round '
              'to make tables of.', file=sys.stderr)
    if args.no_page:
        return
    for path in given:
        if path not in kept:
            continue
        try:
            print(write_report(
                path, args.img_prefix, args.outside_images,
                comparison if len(merged) > 1 and path in merged else None,
                # no run is its own baseline
                None if args.baseline is None else [
                    other for other in args.baseline
                    if not osp.samefile(other, path)], args.map))
        except OSError as e:  # the other pages can be made all the same
            # its own words advise --resume, which this command has not
            reason = os.strerror(e.errno) if e.errno else str(e)
            print(f'no page for {path}: {reason} '
                  f'({e.filename or WorkDir(path).report}). See that this '
                  'place can be written to and has space, or give --no-page '
                  'for the tables alone.', file=sys.stderr)
