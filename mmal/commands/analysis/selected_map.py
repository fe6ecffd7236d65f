"""A map of the pool's embeddings with the images that each query chose."""
from __future__ import annotations

import argparse

from ..options import add_map, check_map

EXAMPLES = """examples:
  mmal analysis selected-map work_dirs/isal_0 --out map.png
  mmal analysis selected-map work_dirs/isal_0 --round 0 --map tsne \\
      --out map.svg
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to ``parser``."""
    parser.add_argument('run', help='work folder of a run')
    parser.add_argument(
        '--round',
        type=int,
        metavar='N',
        help='the detector that makes the embeddings; what later queries '
        'chose is not shown as chosen (default: the last one trained)')
    add_map(parser, 'how embeddings are laid out', default='pca')
    parser.add_argument(
        '--sample',
        action='store_true',
        help='of the images that were not chosen show a sample alone, as the '
        'report does: faster for a large pool')
    parser.add_argument(
        '--out', required=True, help='the picture to write (png or svg)')


def run(args: argparse.Namespace) -> None:
    """Draw the map, and print its name."""
    from mmal.analysis.finished_round import find_round
    from mmal.analysis.selected_map import selected_map
    from mmal.engine.cli import prepare_process
    from mmal.reporting.selected_map import picture_format, plot_selected_map
    picture_format(args.out)
    check_map(args.map)
    prepare_process()
    finished = find_round(args.run, args.round)
    pool_map = selected_map(finished, args.map, not args.sample)
    if pool_map.points.note:
        print(f'The map is of principal components: {pool_map.points.note}')
    print(plot_selected_map(pool_map, args.out))
