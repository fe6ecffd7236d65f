"""Sizes of the boxes that methods chose, and how many images they share."""
from __future__ import annotations

import argparse

from ..options import add_runs, whole

EXAMPLES = """examples:
  mmal analysis selected-boxes work_dirs/isal_* work_dirs/random_* \\
      --out selected.png
  mmal analysis selected-boxes work_dirs/* --rounds 0 1 2 \\
      --pool data/digits/pool.json --save selected.md
  mmal analysis selected-boxes --group isal=work_dirs/a,work_dirs/b \\
      --group random=work_dirs/c
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to ``parser``."""
    add_runs(parser)
    parser.add_argument(
        '--rounds',
        nargs='+',
        type=whole(0),
        default=[0],
        metavar='N',
        help='the queries, whose images are taken together (default: 0, the '
        'first)')
    parser.add_argument(
        '--pool',
        help='COCO json with the boxes of all images, which are shown too '
        '(default: the boxes come from the round after the query)')
    parser.add_argument('--out', help='the picture to write (png)')
    parser.add_argument(
        '--save', nargs='+', default=[], help='.csv or .md files to write')


def run(args: argparse.Namespace) -> None:
    """Print the tables, draw the picture, and write what was asked for."""
    from mmal.analysis.run_groups import parse_groups
    from mmal.analysis.selected_boxes import (
        boxes_of,
        selections,
        shared_images,
    )
    from mmal.evaluation import spread
    from mmal.pool import load_coco
    from mmal.reporting import (
        plot_selected_boxes,
        save_tables,
        selected_boxes_table,
        shared_images_table,
        table_format,
    )
    for path in args.save:
        table_format(path)
    groups = parse_groups(args.group)
    if not args.runs and not groups:
        raise ValueError('there are no runs: give work folders.')
    pool = load_coco(args.pool) if args.pool else None
    methods = selections(args.runs, groups, args.rounds, pool)

    boxes = {name: [s.boxes for s in chosen]
             for name, chosen in methods.items()}
    if pool is not None:
        boxes['(pool)'] = [boxes_of(pool, pool.ids)]
    names, matrix = list(methods), shared_images(methods)
    which = ', '.join(map(str, args.rounds))
    # two random selections share what the larger is of the pool
    chances = [spread([s.chance for s in chosen]).mean
               for chosen in methods.values()]
    by_chance = '' if pool is None else (
        f' (up to {max(chances):.0f} by chance)')
    tables = [
        selected_boxes_table(boxes, f'boxes of the images of query {which}'),
        shared_images_table(
            names, matrix,
            f'images of query {which} in common, percent{by_chance}')
    ]
    print('\n\n'.join(table.text() for table in tables))
    for path in args.save:
        save_tables(tables, path)
    if args.out:
        print(plot_selected_boxes(boxes, names, matrix, args.out))
