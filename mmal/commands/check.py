"""Check a config and its data without training, and show the rounds."""
from __future__ import annotations

import argparse

from . import train
from .options import add_common_options, add_training_options

EXAMPLES = """examples:
  mmal check my_config.py
  mmal check my_config.py --cfg-options data_root=/photos

The same as mmal train --dry-run.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to ``parser``."""
    add_common_options(parser)
    add_training_options(parser)


def run(args: argparse.Namespace) -> None:
    """Print the rounds of the run."""
    args.dry_run = True
    train.run(args)
