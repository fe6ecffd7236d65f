"""Calibrate the scores and boxes of a trained detector, and measure it."""
from __future__ import annotations

import argparse

from ..options import real, whole

METHODS = ('isotonic', 'platt', 'temperature')
EXAMPLES = """examples:
  mmal analysis calibrate my_fcos.py epoch_12.pth --out calibration.json
  mmal analysis calibrate my_fcos.py epoch_12.pth --out calibration.json \\
      --method platt --level 0.95 --splits 10 --fit-all --picture a.png
  mmal analysis calibrate --predictions fcos.pkl --ann-file val.json \\
      --out calibration.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to ``parser``."""
    parser.add_argument(
        'model',
        nargs='*',
        metavar='CONFIG CHECKPOINT',
        help='the detector, which is run on the validation images of its '
        'config; it must not have been trained on them')
    parser.add_argument(
        '--predictions',
        metavar='PKL',
        help="what mmdet's tools/test.py --out has written, in place of a "
        'detector; needs --ann-file')
    parser.add_argument(
        '--out', required=True, help='the calibration to write (json)')
    parser.add_argument(
        '--method', choices=METHODS, default=METHODS[0],
        help='of the scores (default: isotonic)')
    parser.add_argument(
        '--target', choices=('iou', 'found'), default='iou',
        help='what a score should be: the expected IoU with the object, 0 for '
        'a false alarm, or the chance to find an object (default: iou)')
    parser.add_argument(
        '--iou-thr', type=real(0, 1), default=0.0, metavar='X',
        help='IoU from which an object is found, for scores (default: 0, any '
        'overlap)')
    parser.add_argument(
        '--score-thr', type=real(0, 1), default=0.05, metavar='X',
        help='lowest score of a detection that counts (default: 0.05)')
    parser.add_argument(
        '--level', type=real(0, 1), default=0.9, metavar='X',
        help='how often an object is inside the margins of its box '
        '(default: 0.9)')
    parser.add_argument(
        '--rule', choices=('box', 'bonferroni', 'coordinate'), default='box',
        help='what is inside: all four edges, by their largest error or by '
        'each with a correction, or each edge for itself (default: box)')
    parser.add_argument(
        '--boxes', choices=('scaled', 'pixels'),
        help='margins are multiples of the predicted standard deviation, or '
        'pixels (default: scaled where the detector predicts one)')
    parser.add_argument(
        '--box-iou-thr', type=real(0, 1), default=0.5, metavar='X',
        help='IoU from which an object is found, for boxes (default: 0.5)')
    parser.add_argument(
        '--min-count', type=whole(1), default=30, metavar='N',
        help='classes with fewer detections get what was fitted to all '
        '(default: 30)')
    parser.add_argument(
        '--class-agnostic', action='store_true',
        help='fit all classes together')
    parser.add_argument(
        '--split', type=real(0, 1), default=0.5, metavar='X',
        help='share of the images to fit; the others measure (default: 0.5)')
    parser.add_argument(
        '--seed', type=whole(0), default=0, metavar='N',
        help='of the split (default: 0)')
    parser.add_argument(
        '--splits', type=whole(1), default=1, metavar='N',
        help='measure with N splits, of the seed and those after it '
        '(default: 1)')
    parser.add_argument(
        '--fit-all', action='store_true',
        help='write what is fitted to all images, not to those of the first '
        'split')
    parser.add_argument(
        '--ann-file',
        help='COCO json of the truth (default: val_evaluator.ann_file of the '
        'config, or the boxes that come with the samples)')
    parser.add_argument(
        '--picture', metavar='PNG',
        help='draw reliability and coverage on images held out, with the '
        'first split')
    parser.add_argument(
        '--save', nargs='+', default=[], help='.csv or .md files to write')
    parser.add_argument(
        '--device', help='default: the GPU where there is one, or cpu')


def check_arguments(args: argparse.Namespace) -> None:
    """Check what only several arguments together say.

    Raises:
        ValueError: If there is not one detector or one file of predictions,
            or a share is not between 0 and 1.
    """
    if args.predictions and args.model or not args.predictions and \
            len(args.model) != 2:
        raise ValueError('give CONFIG and CHECKPOINT, or --predictions')
    if args.predictions and not args.ann_file:
        raise ValueError('--predictions needs --ann-file')
    for name in ('level', 'split'):
        if getattr(args, name) in (0, 1):
            raise ValueError(f'--{name} must be between 0 and 1')


def run(args: argparse.Namespace) -> None:
    """Print the tables, and write the calibration and what was asked for."""
    from mmal.analysis import posthoc_calibration as posthoc
    from mmal.engine.cli import prepare_process
    from mmal.reporting import save_tables
    from mmal.reporting.posthoc import box_table, score_table
    prepare_process()
    options = posthoc.FitOptions(
        args.method, args.target, args.iou_thr, args.score_thr, args.level,
        args.rule, None if args.boxes is None else args.boxes == 'scaled',
        args.box_iou_thr, None if args.class_agnostic else args.min_count)
    if args.predictions:
        images, classes = posthoc.detections_of_file(
            args.predictions, args.ann_file)
    else:
        from mmal.visualization import load_detector
        model = load_detector(*args.model, args.device)
        images, classes = posthoc.detections_of_model(model, args.ann_file)

    splits = [posthoc.split_images(images, args.split, seed)
              for seed in range(args.seed, args.seed + args.splits)]
    fitted = posthoc.fit_calibration(
        images if args.fit_all else splits[0][0], classes, options)
    tables = [
        score_table([posthoc.compare_scores(*split, classes, options)
                     for split in splits], len(splits[0][1])),
        box_table([posthoc.compare_boxes(*split, classes, options)
                   for split in splits], args.level)]
    print('\n\n'.join(table.text() for table in tables))
    for path in args.save:
        save_tables(tables, path)
    if args.picture:
        print(posthoc.plot_split(*splits[0], classes, options, args.picture))
    fitted.save(args.out)
    print(args.out)
