"""Train with active learning: rounds of train, test, score and select."""
import argparse
import os
import os.path as osp
import sys

from mmengine.config import Config, DictAction

import mmal  # noqa: F401  before mmdet: it supplies missing operators
from mmal.engine import ActiveLearner
from mmal.engine.cli import prepare_config, run_or_explain


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='mmdet config with active_learning')
    parser.add_argument(
        '--work-dir', help='where results go (default: work_dirs/<config>)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        choices=['auto'],
        help='go on with the run in the work folder, if there is one')
    parser.add_argument(
        '--amp', action='store_true', help='train with mixed precision')
    parser.add_argument(
        '--seed', type=int, help='sets active_learning.seed')
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='check config and data, print the rounds and stop')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='overrides, e.g. active_learning.budget.size=500')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='who started the processes')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))

    def work():
        if not osp.isfile(args.config):
            raise FileNotFoundError(f'there is no config {args.config}.')
        cfg = Config.fromfile(args.config)
        prepare_config(cfg, args)
        learner = ActiveLearner(cfg, resume=args.resume is not None)
        return learner.plan() if args.dry_run else learner.run()

    return run_or_explain(work, osp.basename(sys.argv[0]))


if __name__ == '__main__':
    sys.exit(main())
