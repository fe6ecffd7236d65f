"""Train with active learning: rounds of train, test, score and select."""
import argparse
import os.path as osp
import sys

from mmengine.dist import is_main_process

import mmal  # noqa: F401  before mmdet: it supplies missing operators
from mmal.engine import ActiveLearner
from mmal.engine.cli import (
    add_common_options,
    add_training_options,
    load_config,
    run_or_explain,
)
from mmal.engine.plan import plan_run


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_options(parser)
    add_training_options(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        choices=['auto', 'force'],
        help='go on with the run in the work folder, if there is one; '
        '"force" even if the config was changed since')
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='check config and data, print the rounds and stop')
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)

    def work():
        cfg = load_config(args)
        if args.dry_run:
            table = plan_run(cfg)
            if is_main_process():
                print(table)
            return
        ActiveLearner(
            cfg,
            resume=args.resume is not None,
            accept_changes=args.resume == 'force',
            rehearsal=True).run()

    return run_or_explain(work, osp.basename(sys.argv[0]))


if __name__ == '__main__':
    sys.exit(main())
