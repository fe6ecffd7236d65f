"""Rank the labels of a run that may be wrong."""
from __future__ import annotations

import argparse

from ..options import whole

# as in mmal.analysis.label_errors, which is imported later
SPLITS = ('labelled', 'val')
DETECTORS = ('earlier', 'last')
RANKINGS = ('contradiction', 'influence')

EXAMPLES = """examples:
  mmal analysis label-errors work_dirs/my_run
  mmal analysis label-errors work_dirs/my_run --top 50 --out suspects.csv
  mmal analysis label-errors work_dirs/my_run --split val --kind class
  mmal analysis label-errors work_dirs/my_run --by influence
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to ``parser``."""
    parser.add_argument('run', metavar='RUN', help='work folder of the run')
    parser.add_argument(
        '--by', choices=RANKINGS, default='contradiction',
        help='what a detector contradicts, or labels that raise the loss on '
        'the validation images; the latter takes neither --split val, '
        '--detector, --kind nor --coco (default: contradiction)')
    parser.add_argument(
        '--split', choices=SPLITS, default='labelled',
        help='which labels (default: labelled)')
    parser.add_argument(
        '--detector', choices=DETECTORS, default='earlier',
        help='the last one that was not trained on the image, or that of the '
        'last round for all (default: earlier)')
    parser.add_argument(
        '--kind', choices=('overlooked', 'class', 'badly-placed'),
        help='show and write this kind only (default: all)')
    parser.add_argument(
        '--top', type=whole(1), default=20, metavar='N',
        help='how many to show (default: 20)')
    parser.add_argument('--out', help='write all of them, .csv or .json')
    parser.add_argument(
        '--coco', metavar='FILE.json',
        help='write them as a COCO file with the boxes that the detector '
        'would draw')


def run(args: argparse.Namespace) -> None:
    """Print the most suspicious, and write what was asked for."""
    from mmal.analysis.label_errors import (
        check_suffix,
        find_label_errors,
        save_suspects,
        save_suspects_coco,
        suspects_table,
    )
    from mmal.engine.cli import prepare_process
    if args.out:
        check_suffix(args.out)
    if args.by == 'influence':
        _run_influence(args)
        return
    prepare_process()
    suspects, note = find_label_errors(args.run, args.split, args.detector)
    if args.kind:
        kind = args.kind.replace('-', ' ')
        suspects = [s for s in suspects if s.kind == kind]
    print(suspects_table(suspects[:args.top]))
    print(f'\n{min(args.top, len(suspects)):,} of {len(suspects):,} '
          'contradictions between labels and detectors, the strongest first. '
          f'{note}')
    if any(s.seen for s in suspects[:args.top]):
        print('* judged by a detector that was trained on the image, which '
              'may repeat its errors.')
    if args.out:
        save_suspects(suspects, args.out)
    if args.coco:
        save_suspects_coco(suspects, args.run, args.split, args.coco)


def _run_influence(args: argparse.Namespace) -> None:
    """The same by influence."""
    from mmal.analysis.label_errors import save_suspects
    from mmal.analysis.label_influence import (
        InfluentialBox,
        influence_table,
        rank_by_influence,
    )
    from mmal.engine.cli import prepare_process
    if args.split == 'val' or args.detector == 'last' or args.kind or \
            args.coco:
        raise ValueError(
            '--by influence ranks the labels that the last detector was '
            'trained on, of all kinds, and predicts no boxes: leave out '
            '--split val, --detector last, --kind and --coco.')
    prepare_process()
    boxes = rank_by_influence(args.run)
    print(influence_table(boxes[:args.top]))
    print(f'\n{min(args.top, len(boxes)):,} of {len(boxes):,} labels, first '
          'those that raise the loss on the validation images most.')
    if args.out:
        save_suspects(boxes, args.out, InfluentialBox)
