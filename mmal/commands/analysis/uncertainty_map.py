"""Draw detections beside a map of what a Bayesian branch is unsure of."""
from __future__ import annotations

import argparse

from ..options import add_picture_options, real

EXAMPLES = """examples:
  mmal analysis uncertainty-map my_config.py epoch_12.pth photos/*.jpg \\
      --out maps
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to ``parser``."""
    add_picture_options(
        parser, 'mmdet config of a detector with a Bayesian branch')
    parser.add_argument(
        '--score-thr',
        type=real(0, 1),
        default=0.3,
        metavar='X',
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


def run(args: argparse.Namespace) -> None:
    """Draw, and print the names of the pictures."""
    from mmal.analysis.uncertainty_maps import UncertaintyMaps
    from mmal.engine.cli import prepare_process, read_options
    from mmal.visualization import load_detector
    prepare_process()
    model = load_detector(args.config, args.checkpoint, args.device,
                          read_options(args.cfg_options or []))
    maps = UncertaintyMaps(model.cfg, model, args.score_thr,
                           args.class_name)
    for path in maps.draw(args.images, args.out, args.vmax):
        print(path)
