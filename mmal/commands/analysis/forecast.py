"""What more labels will bring: a forecast of the learning curve.

A power law is fitted to the rounds of a run, or of all runs that differ only
in the seed. The intervals hold what a single further round would measure.
"""
from __future__ import annotations

import argparse

from ..options import add_runs, real

# as AXES of mmal.reporting.curve, which is imported later
COSTS = ('images', 'boxes', 'hours')

EXAMPLES = """examples:
  mmal analysis forecast work_dirs/my_run
  mmal analysis forecast work_dirs/my_run --at 1000 2000 --target 0.5
  mmal analysis forecast work_dirs/isal_* work_dirs/random_* --by boxes
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to ``parser``."""
    add_runs(parser)
    parser.add_argument(
        '--by', choices=COSTS, default='images',
        help='what labels cost (default: images)')
    parser.add_argument(
        '--at', nargs='+', type=real(0), metavar='N', default=(),
        help='costs to look at (default: 1.5, 2 and 4 times that of the '
        'last round)')
    parser.add_argument(
        '--target', nargs='+', type=real(0, 1), metavar='X', default=(),
        help='values of the metric, and what they will cost')
    parser.add_argument(
        '--metric', default='AP',
        help="AP, AP50, AP75 or a key of curve.json's metrics (default: AP)")


def run(args: argparse.Namespace) -> None:
    """Print a table of each method."""
    from mmal.analysis.forecast import forecast_tables
    from mmal.analysis.run_groups import parse_groups
    groups = parse_groups(args.group)
    if not args.runs and not groups:
        raise ValueError('there are no runs: give work folders.')
    print('\n\n'.join(forecast_tables(
        args.runs, groups, args.by, args.metric, args.at, args.target)))
