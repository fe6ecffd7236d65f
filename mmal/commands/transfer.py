"""Train another detector on the images that a run has labelled."""
from __future__ import annotations

import argparse

from .options import add_common_options, add_training_options, whole

EXAMPLES = """examples:
  mmal transfer other_detector.py work_dirs/my_run
  mmal transfer other_detector.py work_dirs/my_run --round 4 --resume
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to ``parser``."""
    add_common_options(
        parser,
        config='mmdet config of the other detector, with a COCO data set',
        seed='of the training (default: that of the run)')
    parser.add_argument('run', help='work folder of the run')
    parser.add_argument(
        '--round', type=whole(0), metavar='N',
        help='which one (default: the last one trained)')
    add_training_options(parser,
                         'work_dirs/<config>_on_<run>_round_<round>')
    parser.add_argument(
        '--resume',
        action='store_true',
        help='go on with the training in the work folder, if there is one')


def run(args: argparse.Namespace) -> None:
    """Train, and print what came out."""
    from mmengine.dist import is_main_process

    from mmal.analysis.transfer import Transfer, default_suffix, result_line
    from mmal.engine.cli import load_config, prepare_process
    from mmal.engine.stop_request import request
    prepare_process()
    cfg = load_config(args, default_suffix(args.run, args.round))
    with request.on_signals():
        record = Transfer(cfg, args.run, args.round, args.seed,
                          args.resume).run()
    if is_main_process():
        print(result_line(record))
