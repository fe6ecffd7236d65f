"""The COCO files of a round."""
from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Optional

from mmal.fileio import write_json
from .coco import CocoData, write_split
from .layout import RoundDir
from .pool import Pool


def write_round_splits(folder: RoundDir,
                       coco: CocoData,
                       pool: Pool,
                       annotations: Iterable[Mapping],
                       round: Optional[int] = None) -> None:
    """Write what a round trains on and what it scores.

    ``folder.labelled`` is a COCO file that any mmdet config can train on.
    ``folder.unlabelled`` has the images that are left and no annotations at
    all, whatever ``coco`` holds. When no image is left, its list is empty.

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
    # ``coco`` may know annotations of these: they are not passed on
    write_split(folder.unlabelled, coco, pool.unlabelled(round))


def write_candidates(folder: RoundDir,
                     coco: CocoData,
                     pool: Pool,
                     round: Optional[int] = None) -> None:
    """Write ``folder.candidates``: unlabelled and labelled images together.

    It has no annotations, so that nobody who scores can tell them apart.

    Args:
        folder (RoundDir): The round's files.
        coco (CocoData): All images of the pool.
        pool (Pool): Its state.
        round (int, optional): The round. Default: the latest.
    """
    write_split(folder.candidates, coco,
                [*pool.labelled(round), *pool.unlabelled(round)])


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
