"""Compare two selections of equal size by what models learn from them.

Table V of "Scalable Active Learning for Object Detection": relative change of
AP over a reference model that was trained on neither.
"""
import argparse
import os.path as osp
import sys

from mmengine.dist import is_main_process

import mmal  # noqa: F401  before mmdet: it supplies missing operators
from mmal.analysis.ab import METRICS, TESTS, ABTest, ab_tables
from mmal.engine.cli import (
    add_common_options,
    add_training_options,
    load_config,
    run_or_explain,
)
from mmal.reporting import save_tables, selection_table, table_format


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
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
        '--splits', type=int, default=3, help='repetitions (default: 3)')
    parser.add_argument(
        '--fraction',
        type=float,
        default=0.1,
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
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)

    def work():
        cfg = load_config(args, '_ab_test')
        test = ABTest(cfg, args.reference, args.selections, args.pool,
                      args.splits, args.fraction, args.seed or 0,
                      args.checkpoint, args.resume)
        if args.out:
            table_format(args.out)
        test.check_names(args.classes or ())
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

    return run_or_explain(work, osp.basename(sys.argv[0]))


if __name__ == '__main__':
    sys.exit(main())
