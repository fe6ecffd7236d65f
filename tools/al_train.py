"""Train with active learning: rounds of train, test, score and select."""
import argparse
import os.path as osp
import sys

from mmengine.config import Config

import mmal  # noqa: F401  before mmdet: it supplies missing operators
from mmal.engine import ActiveLearner
from mmal.engine.cli import (
    add_common_options,
    prepare_config,
    run_or_explain,
)


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_options(parser)
    parser.add_argument(
        '--work-dir', help='where results go (default: work_dirs/<config>)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        choices=['auto', 'force'],
        help='go on with the run in the work folder, if there is one; '
        '"force" even if the config was changed since')
    parser.add_argument(
        '--amp', action='store_true', help='train with mixed precision')
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='check config and data, print the rounds and stop')
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)

    def work():
        if not osp.isfile(args.config):
            raise FileNotFoundError(f'there is no config {args.config}.')
        cfg = Config.fromfile(args.config)
        prepare_config(cfg, args)
        learner = ActiveLearner(
            cfg,
            resume=args.resume is not None,
            accept_changes=args.resume == 'force')
        return learner.plan() if args.dry_run else learner.run()

    return run_or_explain(work, osp.basename(sys.argv[0]))


if __name__ == '__main__':
    sys.exit(main())
