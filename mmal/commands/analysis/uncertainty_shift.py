"""Mean uncertainties with more training data, and with noisy images."""
from __future__ import annotations

import argparse

from ..options import real, whole

EXAMPLES = """examples:
  mmal analysis uncertainty-shift work_dirs/my_run
  mmal analysis uncertainty-shift work_dirs/my_run --rounds 0 5 --noise 0
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to ``parser``."""
    parser.add_argument('run', help='work folder of a run')
    parser.add_argument(
        '--rounds',
        type=whole(0),
        nargs=2,
        metavar=('A', 'B'),
        help='which to compare (default: the first and the last one trained)')
    parser.add_argument(
        '--noise',
        type=real(0),
        default=0.01,
        metavar='X',
        help='variance of the noise on images in [0, 1], 0 for no such table '
        '(default: 0.01); the detector is that of round B')
    parser.add_argument(
        '--score-thr',
        type=real(0, 1),
        default=0.5,
        metavar='X',
        help='lowest score of a detection that counts (default: 0.5)')
    parser.add_argument(
        '--iou-thr',
        type=real(0, 1),
        default=0.5,
        metavar='X',
        help='lowest IoU of two detections of one object (default: 0.5)')
    parser.add_argument(
        '--seed', type=whole(0), default=0, metavar='N',
        help='of the noise (default: 0)')
    parser.add_argument(
        '--save', nargs='+', default=[], help='.csv or .md files to write')


def run(args: argparse.Namespace) -> None:
    """Print the tables, and write them where asked."""
    from mmal.analysis.uncertainty import ShiftAnalysis, shift_tables
    from mmal.engine.cli import prepare_process
    from mmal.reporting import save_tables
    prepare_process()
    analysis = ShiftAnalysis(args.score_thr, args.iou_thr, args.seed)
    tables = shift_tables(analysis, args.run, args.rounds, args.noise)
    print('\n\n'.join(table.text() for table in tables))
    for path in args.save:
        save_tables(tables, path)
