"""The files of a round that say what it trains on."""
from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Optional

from mmal.fileio import write_json
from .coco import CocoData, write_split
from .layout import RoundDir
from .pool import Pool


def write_labelled(folder: RoundDir,
                   coco: CocoData,
                   pool: Pool,
                   annotations: Iterable[Mapping],
                   round: Optional[int] = None) -> None:
    """Write ``folder.labelled``, a COCO file that any mmdet config can train
    on.

    Args:
        folder (RoundDir): The round's files; the folder is made if missing.
        coco (CocoData): All images of the pool.
        pool (Pool): Its state.
        annotations (Iterable[dict]): The oracle's, of the labelled images.
        round (int, optional): The round. Default: the latest.

    Raises:
        ValueError: If an annotation belongs to an image that is not
            labelled, or two share an id.
        OSError: If they cannot be written.
    """
    write_split(folder.labelled, coco, pool.labelled(round), annotations)


def write_repeats(folder: RoundDir,
                  pool: Pool,
                  round: Optional[int] = None) -> None:
    """Write ``folder.repeats``: images that the round's training repeats.

    It holds ``ids`` and, for each of them, ``times``: how often it was
    reselected. Where no image was, there is no file, and one that is there
    of another state is removed.

    Args:
        folder (RoundDir): The round's files.
        pool (Pool): Its state.
        round (int, optional): The round. Default: the latest.
    """
    repeats = pool.repeat_counts(round)
    if repeats:
        write_json(folder.repeats,
                   dict(ids=list(repeats), times=list(repeats.values())))
        return
    with suppress(FileNotFoundError):
        os.unlink(folder.repeats)
