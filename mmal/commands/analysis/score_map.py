"""Draw where in images a dense scorer finds what it looks for."""
from __future__ import annotations

import argparse

from ..options import add_picture_options

EXAMPLES = """examples:
  mmal analysis score-map my_config.py epoch_12.pth photos/*.jpg --out maps
  mmal analysis score-map my_config.py epoch_12.pth a.jpg --out maps \\
      --scorer mmal.EntropyScorer --class-name person
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to ``parser``."""
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


def run(args: argparse.Namespace) -> None:
    """Draw, and print the names of the pictures."""
    from mmal.analysis.score_maps import ScoreMaps
    from mmal.engine.cli import prepare_process, read_options
    from mmal.visualization import load_detector
    prepare_process()
    model = load_detector(args.config, args.checkpoint, args.device,
                          read_options(args.cfg_options or []))
    maps = ScoreMaps(model.cfg, model, args.scorer, args.members,
                     args.class_name)
    for path in maps.draw(args.images, args.out, args.vmax):
        print(path)
