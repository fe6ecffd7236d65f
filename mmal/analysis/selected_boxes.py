"""Which images methods chose: sizes of their boxes, and how many they share.

"Influence Selection for Active Learning" (ISAL), section 4.5 and figure 6.
"""
from __future__ import annotations

import os.path as osp
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from mmal.evaluation import SelectedBoxes, shared_percent, spread
from mmal.fileio import read_json
from mmal.pool import CocoData, load_coco
from mmal.pool.layout import WorkDir
from mmal.types import ImageId
from .run_groups import RunFolder, group_folders

Methods = Mapping[str, Sequence['Selection']]


@dataclass(frozen=True)
class Selection:
    """What the queries of one run chose.

    Args:
        folder (RunFolder): The run.
        ids (frozenset[int | str]): The images.
        boxes (SelectedBoxes): Their true boxes.
        chance (float, optional): Percent of them that as many random images
            would be, on average; None without a pool.
    """
    folder: RunFolder
    ids: frozenset[ImageId]
    boxes: SelectedBoxes
    chance: Optional[float] = None


def selections(paths: Sequence[str],
               groups: Optional[Mapping[str, Sequence[str]]] = None,
               rounds: Sequence[int] = (0, ),
               pool: Optional[CocoData] = None) -> dict[str, list[Selection]]:
    """What methods chose.

    Args:
        paths (sequence[str]): Work folders, see
            :func:`~mmal.analysis.run_groups.group_folders`.
        groups (mapping[str, sequence[str]], optional): Folders that belong
            together, by name.
        rounds (sequence[int]): The queries, from 0; the images of several
            are taken together.
        pool (CocoData, optional): All images with their boxes. Default: the
            boxes are read from the round after the query, which is trained
            on them.

    Returns:
        dict[str, list[Selection]]: The runs of each method.

    Raises:
        FileNotFoundError: If there is no such run, or no boxes.
        ValueError: If a run has made no such query, or an image is not in
            the pool.
    """
    return {
        name: [_selection(folder, rounds, pool) for folder in folders]
        for name, folders in group_folders(paths, groups).items()
    }


def _selection(folder: RunFolder, rounds: Sequence[int],
               pool: Optional[CocoData]) -> Selection:
    work = WorkDir(folder.path)
    ids: list[ImageId] = []
    for number in rounds:
        path = work.round(number).selected
        if not osp.isfile(path):
            raise ValueError(f'{folder.path} has made no query in round '
                             f'{number}: give others with --rounds, or leave '
                             'the run out.')
        ids += read_json(path)['ids']
    coco = pool
    if coco is None:
        path = work.round(max(rounds) + 1).labelled
        if not osp.isfile(path):
            raise FileNotFoundError(
                f'there is no {path} with the boxes that round {max(rounds)} '
                'chose: give the COCO file of the pool with --pool.')
        coco = load_coco(path)
    chosen = list(dict.fromkeys(ids))
    unknown = [i for i in chosen if i not in coco.images]
    if unknown:
        raise ValueError(f'{folder.path} has chosen image {unknown[0]!r}, '
                         f'which is not in {coco.path}.')
    # what was not labelled before the first of the queries
    labelled = {r.round: r.images for r in folder.run.curve.records}
    left = len(pool.images) - labelled[min(rounds)] if pool else 0
    return Selection(folder, frozenset(chosen), boxes_of(coco, chosen),
                     100 * len(chosen) / left if left else None)


def boxes_of(coco: CocoData, ids: Sequence[ImageId]) -> SelectedBoxes:
    """The boxes of some images of a COCO file, without crowds and ignored
    ones."""
    position = {image: n for n, image in enumerate(ids)}
    table = coco.table(coco.annotations_of(ids))
    known = coco.ids
    images = np.array([position[known[i]] for i in table.images], np.int64)
    return SelectedBoxes.of(table.boxes[table.is_box], images[table.is_box],
                            coco.sizes_of(ids))


def shared_images(methods: Methods) -> np.ndarray:
    """Percent of the images that each two methods have both chosen.

    Of two methods the runs of equal seed are compared, since they begin with
    the same images; single runs are whatever their seeds.

    Returns:
        np.ndarray: float64 [M, M] in [0, 100], the mean over the pairs; NaN
        without one.
    """
    def percent(first: Sequence[Selection],
                second: Sequence[Selection]) -> float:
        pairs = [(a, b) for a in first for b in second
                 if a.folder.run.seed is not None
                 and a.folder.run.seed == b.folder.run.seed]
        if not pairs and len(first) == len(second) == 1:
            pairs = [(first[0], second[0])]
        mean = spread([shared_percent(a.ids, b.ids) for a, b in pairs]).mean
        return np.nan if mean is None else mean

    matrix = np.array([[percent(a, b) for b in methods.values()]
                       for a in methods.values()], np.float64)
    np.fill_diagonal(matrix, 100)  # two runs of one method have no pair
    return matrix
