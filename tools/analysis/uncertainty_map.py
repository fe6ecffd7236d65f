"""Draw detections beside a map of what a Bayesian branch is unsure of."""
import argparse
import os.path as osp
import sys

import mmal  # noqa: F401  before mmdet: it supplies missing operators
from mmal.analysis.uncertainty_maps import UncertaintyMaps
from mmal.engine.cli import add_picture_options, run_or_explain
from mmal.visualization import load_detector


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    add_picture_options(
        parser, 'mmdet config of a detector with a Bayesian branch')
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help='detections above this score are drawn (default: 0.3)')
    parser.add_argument(
        '--class-name',
        help='the values of this class, where the branch predicts classes '
        '(default: of all)')
    parser.add_argument(
        '--vmax',
        type=float,
        help='bits of the brightest colour (default: the largest of each '
        'image)')
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)

    def work():
        model = load_detector(args.config, args.checkpoint, args.device,
                              args.cfg_options)
        maps = UncertaintyMaps(model.cfg, model, args.score_thr,
                               args.class_name)
        for path in maps.draw(args.images, args.out, args.vmax):
            print(path)

    return run_or_explain(work, osp.basename(sys.argv[0]))


if __name__ == '__main__':
    sys.exit(main())
