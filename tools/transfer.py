"""Train another detector on the images that a run has labelled."""
import argparse
import os.path as osp
import sys

from mmengine.dist import is_main_process

import mmal  # noqa: F401  before mmdet: it supplies missing operators
from mmal.analysis.transfer import Transfer, default_suffix, result_line
from mmal.engine.cli import (
    add_common_options,
    add_training_options,
    load_config,
    run_or_explain,
)


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_options(
        parser,
        config='mmdet config of the other detector, with a COCO data set',
        seed='of the training (default: that of the run)')
    parser.add_argument('run', help='work folder of the run')
    parser.add_argument(
        '--round', type=int, help='which one (default: the last one trained)')
    add_training_options(parser,
                         'work_dirs/<config>_on_<run>_round_<round>')
    parser.add_argument(
        '--resume',
        action='store_true',
        help='go on with the training in the work folder, if there is one')
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)

    def work():
        cfg = load_config(args, default_suffix(args.run, args.round))
        record = Transfer(cfg, args.run, args.round, args.seed,
                          args.resume).run()
        if is_main_process():
            print(result_line(record))

    return run_or_explain(work, osp.basename(sys.argv[0]))


if __name__ == '__main__':
    sys.exit(main())
