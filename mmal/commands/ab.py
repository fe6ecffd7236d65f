"""Compare two selections of equal size by what models learn from them.

Table V of "Scalable Active Learning for Object Detection": relative change of
AP over a reference model that was trained on neither.
"""
from __future__ import annotations

import argparse

from .options import add_common_options, add_training_options, real, whole

# as in mmal.analysis.ab, which is imported later
METRICS = ('AP', 'wMAP')
TESTS = ('both', 'a', 'b', 'val')

EXAMPLES = """examples:
  mmal ab my_detector.py labelled.json isal.json random.json
  mmal ab my_detector.py labelled.json runs/isal/round_03/selected.json \\
      runs/random/round_03/selected.json --pool pool.json \\
      --names ISAL random --out table.md
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to ``parser``."""
    add_common_options(
        parser,
        config='mmdet config with a COCO data set that has all images',
        seed='of splits and trainings (default: 0)')
    parser.add_argument(
        'reference', help='COCO json the reference model is trained on')
    parser.add_argument(
        'selections',
        nargs=2,
        metavar='selection',
        help='A and B: COCO jsons, or selected.json of queries with --pool')
    parser.add_argument(
        '--pool', help='COCO json with the annotations of selected.json')
    parser.add_argument(
        '--checkpoint',
        help='the trained reference model (default: train one)')
    parser.add_argument(
        '--splits', type=whole(1), default=3, metavar='N',
        help='repetitions (default: 3)')
    parser.add_argument(
        '--fraction',
        type=real(0, 1),
        default=0.1,
        metavar='X',
        help='part of a selection to test on (default: 0.1)')
    parser.add_argument(
        '--names', nargs=2, default=['A', 'B'], help='what to call them')
    parser.add_argument(
        '--classes', nargs='+', help='classes to show (default: all)')
    parser.add_argument(
        '--metric', choices=METRICS, default='AP', help='default: AP')
    parser.add_argument(
        '--tests',
        nargs='+',
        choices=TESTS,
        default=TESTS,
        help='test sets to show (default: all)')
    parser.add_argument('--out', help='also write the tables, .csv or .md')
    add_training_options(parser, 'work_dirs/<config>_ab_test')
    parser.add_argument(
        '--resume',
        action='store_true',
        help='go on with what is in the work folder')


def run(args: argparse.Namespace) -> None:
    """Train and test on all splits, print the tables."""
    from mmengine.dist import is_main_process

    from mmal.analysis.ab import ABTest, ab_tables
    from mmal.engine.cli import load_config, prepare_process
    from mmal.engine.stop_request import request
    from mmal.reporting import save_tables, selection_table, table_format
    prepare_process()
    cfg = load_config(args, '_ab_test')
    test = ABTest(cfg, args.reference, args.selections, args.pool,
                  args.splits, args.fraction, args.seed or 0,
                  args.checkpoint, args.resume)
    if args.out:
        table_format(args.out)
    test.check_names(args.classes or ())
    with request.on_signals():
        results = test.run()
    if is_main_process():
        tables = [
            selection_table(test.sizes, args.names),
            *ab_tables(results, args.splits, args.names, args.classes,
                       args.metric, args.tests)
        ]
        print('\n\n'.join(t.text() for t in tables))
        if args.out:
            save_tables(tables, args.out)
