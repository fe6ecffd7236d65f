"""Mean uncertainties with more training data, and with noisy images."""
import argparse
import os.path as osp
import sys

import mmal  # noqa: F401  before mmdet: it supplies missing operators
from mmal.analysis.uncertainty import ShiftAnalysis, shift_tables
from mmal.engine.cli import run_or_explain
from mmal.reporting import save_tables


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('run', help='work folder of a run')
    parser.add_argument(
        '--rounds',
        type=int,
        nargs=2,
        metavar=('A', 'B'),
        help='which to compare (default: the first and the last one trained)')
    parser.add_argument(
        '--noise',
        type=float,
        default=0.01,
        help='variance of the noise on images in [0, 1], 0 for no such table '
        '(default: 0.01); the detector is that of round B')
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.5,
        help='lowest score of a detection that counts (default: 0.5)')
    parser.add_argument(
        '--iou-thr',
        type=float,
        default=0.5,
        help='lowest IoU of two detections of one object (default: 0.5)')
    parser.add_argument(
        '--seed', type=int, default=0, help='of the noise (default: 0)')
    parser.add_argument(
        '--save', nargs='+', default=[], help='.csv or .md files to write')
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)

    def work():
        analysis = ShiftAnalysis(args.score_thr, args.iou_thr, args.seed)
        tables = shift_tables(analysis, args.run, args.rounds, args.noise)
        print('\n\n'.join(table.text() for table in tables))
        for path in args.save:
            save_tables(tables, path)

    return run_or_explain(work, osp.basename(sys.argv[0]))


if __name__ == '__main__':
    sys.exit(main())
