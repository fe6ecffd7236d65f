"""Overlap of the images that each uncertainty alone would have chosen."""
from __future__ import annotations

import argparse

from ..options import whole

EXAMPLES = """examples:
  mmal analysis uncertainty-overlap work_dirs/my_run
  mmal analysis uncertainty-overlap work_dirs/my_run --round 3 -n 500 \\
      --save overlap.md
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to ``parser``."""
    parser.add_argument(
        'run', help='work folder of a run with MixtureUncertaintyScorer')
    parser.add_argument(
        '--round', type=whole(0), metavar='N',
        help='which one (default: the last query)')
    parser.add_argument(
        '-n', type=whole(1), metavar='N',
        help="how many images (default: the run's budget)")
    parser.add_argument(
        '--save', nargs='+', default=[], help='.csv or .md files to write')


def run(args: argparse.Namespace) -> None:
    """Print the table, and write it where asked."""
    from mmal.analysis.uncertainty import selection_overlap
    from mmal.reporting import save_tables
    table = selection_overlap(args.run, args.round, args.n)
    print(table.text())
    for path in args.save:
        save_tables([table], path)
