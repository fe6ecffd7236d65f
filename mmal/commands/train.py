"""Train with active learning: rounds of train, test, score and select."""
from __future__ import annotations

import argparse

from .options import add_common_options, add_training_options

EXAMPLES = """examples:
  mmal train my_config.py
  mmal train my_config.py --resume
  mmal train my_config.py --work-dir runs/a --seed 1 \\
      --cfg-options active_learning.budget.size=500
  mmal train my_config.py --dry-run
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to ``parser``."""
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
    parser.add_argument(
        '--shared-trainings',
        metavar='DIR',
        help='take the training of the first round from this folder, if '
        'another run has left an equal one there, and leave it there')


def run(args: argparse.Namespace) -> None:
    """Check the run, or do it."""
    from mmengine.dist import is_main_process

    from mmal.engine import ActiveLearner
    from mmal.engine.cli import load_config, prepare_process
    from mmal.engine.plan import plan_run
    from mmal.engine.stop_request import request
    prepare_process()
    cfg = load_config(args)
    if args.dry_run:
        table = plan_run(cfg)
        if is_main_process():
            print(table)
        return
    with request.on_signals():
        ActiveLearner(
            cfg,
            resume=args.resume is not None,
            accept_changes=args.resume == 'force',
            rehearsal=True,
            shared_trainings=args.shared_trainings).run()
