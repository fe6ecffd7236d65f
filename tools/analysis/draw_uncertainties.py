"""Detect on images and draw each detection with its uncertainties."""
import argparse
import os.path as osp
import sys

import mmal  # noqa: F401  before mmdet: it supplies missing operators
from mmal.engine.cli import add_picture_options, run_or_explain
from mmal.visualization import draw_detections, load_detector


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    add_picture_options(parser)
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help='detections above this score are drawn (default: 0.3)')
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)

    def work():
        model = load_detector(args.config, args.checkpoint, args.device,
                              args.cfg_options)
        for path in draw_detections(model, args.images, args.out,
                                    args.score_thr):
            print(path)

    return run_or_explain(work, osp.basename(sys.argv[0]))


if __name__ == '__main__':
    sys.exit(main())
