"""Draw where in images a dense scorer finds what it looks for."""
import argparse
import os.path as osp
import sys

import mmal  # noqa: F401  before mmdet: it supplies missing operators
from mmal.analysis.score_maps import ScoreMaps
from mmal.engine.cli import add_picture_options, run_or_explain
from mmal.visualization import load_detector


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    add_picture_options(
        parser, override='active_learning.scorer.classes=separate')
    parser.add_argument(
        '--scorer',
        help='e.g. mmal.EntropyScorer (default: active_learning.scorer, whose '
        'classes and class_weights count here too)')
    parser.add_argument(
        '--members',
        nargs='+',
        default=(),
        help='checkpoints of the other members of an ensemble')
    parser.add_argument(
        '--class-name', help='the values of this class (default: of all)')
    parser.add_argument(
        '--vmax',
        type=float,
        help='value of the brightest colour (default: the largest of each '
        'image)')
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)

    def work():
        model = load_detector(args.config, args.checkpoint, args.device,
                              args.cfg_options)
        maps = ScoreMaps(model.cfg, model, args.scorer, args.members,
                         args.class_name)
        for path in maps.draw(args.images, args.out, args.vmax):
            print(path)

    return run_or_explain(work, osp.basename(sys.argv[0]))


if __name__ == '__main__':
    sys.exit(main())
