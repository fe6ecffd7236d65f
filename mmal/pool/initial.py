"""The first labelled set."""
from __future__ import annotations

import os.path as osp
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Optional

from mmal.types import ImageId
from .coco import CocoData, load_coco
from .oracle import (
    BaseOracle,
    InitialOracle,
    check_same_images,
    translate,
)
from .pool import draw_initial

_KEY = 'active_learning.initial'


@dataclass(frozen=True)
class Initial:
    """The first labelled set.

    Args:
        ids (list[int | str]): Its images.
        annotations (list[dict], optional): Theirs, or None when the oracle
            has to be asked.
    """
    ids: list[ImageId]
    annotations: Optional[list[dict]] = None

    def before(self, oracle: BaseOracle) -> BaseOracle:
        """The oracle of the run: given annotations first, if there are."""
        if self.annotations is None:
            return oracle
        return InitialOracle(self.annotations, self.ids, oracle)


def initial_ids(cfg: Mapping,
                coco: CocoData,
                seed: int,
                data_root: str = '',
                unreadable: Iterable[ImageId] = ()) -> Initial:
    """The first images to label.

    Args:
        cfg (Mapping): ``active_learning.initial``. Either ``size``: so many
            images drawn at random (:func:`~mmal.pool.pool.draw_initial`), or
            ``ann_file``: the images of a COCO file with their annotations.
            Its images must be in the pool under the same id and file name;
            categories are matched by name.
        coco (CocoData): The pool.
        seed (int): The run's seed.
        data_root (str): The folder ``ann_file`` is relative to.
        unreadable (Iterable[int | str]): Images that are left out.

    Raises:
        FileNotFoundError, ValueError: If the config or the file is wrong.
    """
    if set(cfg) not in ({'size'}, {'ann_file'}):
        raise ValueError(f'{_KEY} is {dict(cfg)}: it needs either size (a '
                         'number of images) or ann_file (a COCO json), and '
                         'nothing else. (A config that inherits the other '
                         'one writes initial=dict(_delete_=True, …).)')
    unreadable = set(unreadable)
    # An unreadable image is replaced by the next one of the same draw: a
    # larger draw begins with the smaller one.
    if 'size' in cfg:
        usable = [i for i in coco.ids if i not in unreadable]
        return Initial(draw_initial(usable, cfg['size'], seed))
    labels = load_coco(osp.join(data_root, cfg['ann_file']))
    check_same_images(coco, labels, labels.ids)
    ids = [i for i in labels.ids if i not in unreadable]
    if not ids:
        raise ValueError(f'{_KEY}.ann_file: every image of {labels.path} is '
                         'unreadable. Repair them or give others.')
    return Initial(ids, translate(labels, coco, {i: i for i in ids}))
