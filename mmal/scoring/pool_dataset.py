"""A data set of images in memory, whose entries are made when asked for."""
from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence

import numpy as np
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.config import ConfigDict
from torch.utils.data import Dataset

from mmal.pool import CocoData, write_split
from mmal.types import ImageId


class _Entries(Sequence[dict]):
    """What ``load_data_list`` of a data set would give, one at a time.

    Args:
        dataset (CocoDataset): Makes an entry of mmdet's of one of the file's.
        coco (CocoData): The images.
        ids (list[int | str]): Which of them.
    """

    def __init__(self, dataset: CocoDataset, coco: CocoData,
                 ids: Sequence[ImageId]) -> None:
        self._dataset = dataset
        self._images = coco.images
        # numbers in one array are shared by forked workers; python's are
        # copied when they are looked at
        is_plain = set(map(type, ids)) <= {int}
        self._ids = np.array(ids, np.int64) if is_plain else list(ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, n: int) -> dict:
        id = self._ids[n]
        image = dict(self._images[id if isinstance(id, str) else int(id)])
        image['img_id'] = image['id']
        return self._dataset.parse_data_info(
            dict(raw_img_info=image, raw_ann_info=[]))


def images_dataset(cfg: ConfigDict, coco: CocoData,
                   ids: Sequence[ImageId]) -> Dataset:
    """Build a ``CocoDataset`` of images in memory, without annotations.

    A file would be parsed, copied and kept as a dict for each image by every
    process; here O(1) is done, and an entry is made of the columns of the
    pool when it is its turn.

    Args:
        cfg (ConfigDict): Config of the data set; its file is not read.
        coco (CocoData): The images.
        ids (sequence[int | str]): Which of them, in this order.
    """
    cfg = ConfigDict(cfg)
    cfg.lazy_init = True
    cfg.ann_file = ''
    dataset = DATASETS.build(cfg)
    if type(dataset).load_data_list is not CocoDataset.load_data_list:
        # a subclass that reads files its own way
        with tempfile.TemporaryDirectory(prefix='mmal_') as folder:
            cfg.lazy_init = False
            cfg.ann_file = os.path.join(folder, 'images.json')
            write_split(cfg.ann_file, coco, ids)
            return DATASETS.build(cfg)
    # what load_data_list makes of a file without annotations
    dataset.cat_ids, dataset.cat2label = [], {}
    dataset.serialize_data = False
    dataset.data_list = _Entries(dataset, coco, ids)
    dataset._fully_initialized = True
    return dataset
