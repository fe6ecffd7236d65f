"""The COCO files of a round."""
from __future__ import annotations

import os.path as osp
from collections.abc import Iterable, Mapping
from typing import Optional

from mmal.pool.coco import CocoData, write_split
from mmal.pool.pool import Pool

LABELLED = 'labelled.json'
UNLABELLED = 'unlabelled.json'


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
