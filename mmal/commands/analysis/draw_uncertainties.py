"""Detect on images and draw each detection with its uncertainties."""
from __future__ import annotations

import argparse

from ..options import add_picture_options, real

EXAMPLES = """examples:
  mmal analysis draw-uncertainties my_detector.py epoch_12.pth photos/*.jpg \\
      --out pictures
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to ``parser``."""
    add_picture_options(parser)
    parser.add_argument(
        '--score-thr',
        type=real(0, 1),
        default=0.3,
        metavar='X',
        help='detections above this score are drawn (default: 0.3)')


def run(args: argparse.Namespace) -> None:
    """Draw, and print the names of the pictures."""
    from mmal.engine.cli import prepare_process, read_options
    from mmal.visualization import draw_detections, load_detector
    prepare_process()
    model = load_detector(args.config, args.checkpoint, args.device,
                          read_options(args.cfg_options or []))
    for path in draw_detections(model, args.images, args.out,
                                args.score_thr):
        print(path)
