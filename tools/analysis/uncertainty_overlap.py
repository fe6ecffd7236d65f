"""Overlap of the images that each uncertainty alone would have chosen."""
import argparse
import os.path as osp
import sys

import mmal  # noqa: F401  before mmdet: it supplies missing operators
from mmal.analysis.uncertainty import selection_overlap
from mmal.engine.cli import run_or_explain
from mmal.reporting import save_tables


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'run', help='work folder of a run with MixtureUncertaintyScorer')
    parser.add_argument(
        '--round', type=int, help='which one (default: the last query)')
    parser.add_argument(
        '-n', type=int, help="how many images (default: the run's budget)")
    parser.add_argument(
        '--save', nargs='+', default=[], help='.csv or .md files to write')
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)

    def work():
        table = selection_overlap(args.run, args.round, args.n)
        print(table.text())
        for path in args.save:
            save_tables([table], path)

    return run_or_explain(work, osp.basename(sys.argv[0]))


if __name__ == '__main__':
    sys.exit(main())
