"""Arguments that several commands take, and what a value may be."""
from __future__ import annotations

import argparse
from importlib.util import find_spec
from typing import Optional

# As in mmal.reporting.embedding_map, which is imported later, with the module
# that each needs; the extra that installs it has the map's name.
MAPS = dict(pca=None, umap='umap', tsne='sklearn')


def add_common_options(parser: argparse.ArgumentParser,
                       config: str = 'mmdet config with active_learning',
                       seed: str = 'sets active_learning.seed') -> None:
    """Add what every command takes that reads a config.

    Args:
        parser (ArgumentParser): Gets them.
        config (str): What the config is.
        seed (str): What the seed does.
    """
    parser.add_argument('config', help=config)
    parser.add_argument('--seed', type=whole(0), metavar='N', help=seed)
    add_cfg_options(parser, 'active_learning.budget.size=500')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='who started the processes')
    parser.add_argument(
        '--local_rank', '--local-rank', type=int, default=0,
        help=argparse.SUPPRESS)


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Add work folders and ``--group``, which puts some of them together."""
    parser.add_argument(
        'runs',
        nargs='*',
        metavar='RUN',
        help='work folders; those whose configs differ only in the seed are '
        'one method')
    parser.add_argument(
        '--group',
        action='append',
        default=[],
        metavar='NAME=RUN,RUN',
        help='work folders that are one method, and its name; may be given '
        'several times')


def add_cfg_options(parser: argparse.ArgumentParser, example: str) -> None:
    """Add ``--cfg-options``; its values stay words until the command runs.

    Args:
        parser (ArgumentParser): Gets it.
        example (str): One ``key=value``.
    """
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        type=key_and_value,
        metavar='KEY=VALUE',
        help=f'overrides, e.g. {example}')


def add_training_options(parser: argparse.ArgumentParser,
                         default_dir: str = 'work_dirs/<config>') -> None:
    """Add what every command takes that trains.

    Args:
        parser (ArgumentParser): Gets them.
        default_dir (str): Where results go by default.
    """
    parser.add_argument(
        '--work-dir', help=f'where results go (default: {default_dir})')
    parser.add_argument(
        '--amp', action='store_true', help='train with mixed precision')


def add_picture_options(
        parser: argparse.ArgumentParser,
        config: str = 'mmdet config of the detector',
        override: str = 'model.test_cfg.score_thr=0.1') -> None:
    """Add what every command takes that draws on photos.

    Args:
        parser (ArgumentParser): Gets them.
        config (str): What the config is.
        override (str): An example of ``--cfg-options``.
    """
    parser.add_argument('config', help=config)
    parser.add_argument('checkpoint', help='the trained detector')
    parser.add_argument('images', nargs='+', help='image files')
    parser.add_argument(
        '--out', required=True, help='folder for the pictures (png)')
    parser.add_argument(
        '--device', help='default: the GPU where there is one, or cpu')
    add_cfg_options(parser, override)


def add_map(parser: argparse.ArgumentParser, what: str,
            default: Optional[str] = None) -> None:
    """Add ``--map``, how embeddings become points of a plane.

    Args:
        parser (ArgumentParser): Gets it.
        what (str): What it decides.
        default (str, optional): The map where none is named.
    """
    parser.add_argument(
        '--map',
        choices=tuple(MAPS),
        default=default,
        help=f"{what}: by principal components, UMAP (pip install "
        f"'mmdet-al[umap]') or t-SNE ('mmdet-al[tsne]')"
        + (f' (default: {default})' if default else ''))


def check_map(name: Optional[str]) -> None:
    """Raise a ValueError if what a map needs is not installed."""
    needed = MAPS.get(name)
    if needed and find_spec(needed) is None:
        raise ValueError(f'--map {name} needs {needed}, which is not '
                         f"installed: pip install 'mmdet-al[{name}]'.")


def key_and_value(text: str) -> str:
    """A ``type`` of argparse: ``KEY=VALUE``, as it was written.

    Raises:
        ArgumentTypeError: If there is no ``=``, or nothing before it.
    """
    if not text.partition('=')[0].strip() or '=' not in text:
        raise argparse.ArgumentTypeError(
            f'{text!r} is no KEY=VALUE: write the key of the config, = and '
            'its value, without blanks around it.')
    return text


def whole(least: int):
    """A ``type`` of argparse: whole numbers from ``least`` on."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < least:
            raise argparse.ArgumentTypeError(
                f'{text!r} is no whole number of at least {least}.')
        return value

    return number


def real(least: float, most: float = float('inf')):
    """A ``type`` of argparse: numbers from ``least`` to ``most``."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float('nan')
        if not least <= value <= most:
            limit = f'from {least:g} to {most:g}' if most < float(
                'inf') else f'of at least {least:g}'
            raise argparse.ArgumentTypeError(
                f'{text!r} is no number {limit}.')
        return value

    return number
