"""How far the scores and box intervals of detectors can be trusted."""
from __future__ import annotations

import argparse

from ..options import real, whole

EXAMPLES = """examples:
  mmal analysis reliability --model FCOS my_fcos.py epoch_12.pth \\
      --out reliability.png
  mmal analysis reliability --predictions FCOS fcos.pkl \\
      --predictions SSD ssd.pkl --ann-file val.json --out reliability.png
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to ``parser``."""
    parser.add_argument(
        '--model',
        nargs=3,
        action='append',
        default=[],
        metavar=('NAME', 'CONFIG', 'CHECKPOINT'),
        help='a detector, which is run on the validation images of its '
        'config; may be given several times')
    parser.add_argument(
        '--predictions',
        nargs=2,
        action='append',
        default=[],
        metavar=('NAME', 'PKL'),
        help="what mmdet's tools/test.py --out has written; may be given "
        'several times')
    parser.add_argument(
        '--out', required=True, help='the picture to write (png)')
    parser.add_argument(
        '--save', nargs='+', default=[], help='.csv or .md files to write')
    parser.add_argument(
        '--ann-file',
        help='COCO json of the truth, needed for --predictions (default: '
        'val_evaluator.ann_file of the config, or the boxes that come with '
        'the samples)')
    parser.add_argument(
        '--bins', type=whole(1), default=15, metavar='N',
        help='bins of the score (default: 15)')
    parser.add_argument(
        '--score-thr',
        type=real(0, 1),
        default=0.05,
        metavar='X',
        help='lowest score of a detection that counts (default: 0.05)')
    parser.add_argument(
        '--iou-thr',
        type=real(0, 1),
        default=0.5,
        metavar='X',
        help='IoU from which an object is found (default: 0.5)')
    parser.add_argument(
        '--pdq',
        action='store_true',
        help='probability-based detection quality too, which takes longer')
    parser.add_argument(
        '--device', help='default: the GPU where there is one, or cpu')


def check_arguments(args: argparse.Namespace) -> None:
    """Check what only several arguments together say.

    Raises:
        ValueError: If there is no detector, or two have the same name.
    """
    names = [name for name, *_ in args.model + args.predictions]
    if not names or len(set(names)) < len(names):
        raise ValueError('give --model or --predictions at least once, each '
                         'with a name of its own')


def run(args: argparse.Namespace) -> None:
    """Draw the diagram, print the tables, write them where asked."""
    from mmal.analysis.calibration import (
        calibration_of_file,
        calibration_of_model,
    )
    from mmal.engine.cli import prepare_process
    from mmal.reporting import (
        calibration_tables,
        plot_reliability,
        save_tables,
    )
    from mmal.visualization import load_detector
    prepare_process()
    options = dict(
        bins=args.bins, score_thr=args.score_thr, iou_thr=args.iou_thr,
        pdq=args.pdq)
    if args.ann_file:
        options['ann_file'] = args.ann_file
    detectors = {}
    for name, config, checkpoint in args.model:
        model = load_detector(config, checkpoint, args.device)
        detectors[name] = calibration_of_model(model, **options)
    for name, path in args.predictions:
        detectors[name] = calibration_of_file(path, **options)

    tables = calibration_tables(
        detectors, args.bins, iou_thr=args.iou_thr)
    print('\n\n'.join(table.text() for table in tables))
    for path in args.save:
        save_tables(tables, path)
    print(plot_reliability(detectors, args.out, args.bins))
