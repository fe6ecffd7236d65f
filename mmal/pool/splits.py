"""The COCO files of a round."""
from __future__ import annotations

import os
import os.path as osp
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Optional

from mmal.fileio import write_json
from .coco import CocoData, write_split
from .pool import Pool

LABELLED = 'labelled.json'
UNLABELLED = 'unlabelled.json'
CANDIDATES = 'candidates.json'
REPEATS = 'repeats.json'


def write_round_splits(round_dir: str,
                       coco: CocoData,
                       pool: Pool,
                       annotations: Iterable[Mapping],
                       round: Optional[int] = None) -> tuple[str, str]:
    """Write what a round trains on and what it scores.

    ``labelled.json`` is a COCO file that any mmdet config can train on.
    ``unlabelled.json`` has the images that are left and no annotations at
    all, whatever ``coco`` holds. When no image is left, its list is empty.

    Args:
        round_dir (str): The round's folder; made if missing.
        coco (CocoData): All images of the pool.
        pool (Pool): Its state.
        annotations (Iterable[dict]): The oracle's, of the labelled images.
        round (int, optional): The round. Default: the latest.

    Returns:
        tuple[str, str]: The paths of the two files.

    Raises:
        ValueError: If an annotation belongs to an image that is not
            labelled, or two share an id.
        OSError: If they cannot be written.
    """
    labelled = osp.join(round_dir, LABELLED)
    unlabelled = osp.join(round_dir, UNLABELLED)
    write_split(labelled, coco, pool.labelled(round), annotations)
    write_split(unlabelled, coco, pool.unlabelled(round))
    return labelled, unlabelled


def write_candidates(round_dir: str,
                     coco: CocoData,
                     pool: Pool,
                     round: Optional[int] = None) -> str:
    """Write ``candidates.json``: unlabelled and labelled images together.

    It has no annotations, so that nobody who scores can tell them apart.

    Args:
        round_dir (str): The round's folder.
        coco (CocoData): All images of the pool.
        pool (Pool): Its state.
        round (int, optional): The round. Default: the latest.

    Returns:
        str: The path of the file.
    """
    path = osp.join(round_dir, CANDIDATES)
    write_split(path, coco, [*pool.labelled(round), *pool.unlabelled(round)])
    return path


def write_repeats(round_dir: str,
                  pool: Pool,
                  round: Optional[int] = None) -> Optional[str]:
    """Write ``repeats.json``: images that the round's training repeats.

    It holds ``ids`` and, for each of them, ``times``: how often more than
    once it is trained on. Where no image was taken again there is no file.

    Args:
        round_dir (str): The round's folder.
        pool (Pool): Its state.
        round (int, optional): The round. Default: the latest.

    Returns:
        str | None: The path of the file, if there is one.
    """
    path = osp.join(round_dir, REPEATS)
    repeats = pool.repeat_counts(round)
    if repeats:
        write_json(
            path, dict(ids=list(repeats), times=list(repeats.values())))
        return path
    with suppress(FileNotFoundError):
        os.unlink(path)
    return None
