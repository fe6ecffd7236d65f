"""A data set some of whose images come more than once."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Union

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS as ALL_DATASETS

from mmal.fileio import read_json
from mmal.registry import DATASETS
from .coco import some


@DATASETS.register_module()
class RepeatImages:
    """Wraps a data set and repeats single images of it.

    :class:`~mmengine.dataset.RepeatDataset` repeats all of them. With
    Mosaic and the like, this is what ``MultiImageMixDataset`` wraps.

    Images that the data set leaves out (``filter_cfg``) are not repeated.

    Args:
        dataset (dict | BaseDataset): A data set whose entries have an
            ``img_id``, as mmdet's ``CocoDataset``, or its config.
        repeats (str): A json file with ``ids`` and ``times``, see
            :func:`~mmal.pool.splits.write_repeats`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of another form.
    """

    def __init__(self, dataset: Union[dict, BaseDataset],
                 repeats: str) -> None:
        if isinstance(dataset, Mapping):
            dataset = ALL_DATASETS.build(dataset)
        self.dataset = dataset
        self.dataset.full_init()
        content = read_json(repeats)
        if not isinstance(content, dict) or set(content) != {'ids', 'times'}:
            raise ValueError(
                f'{repeats} must hold an object with ids and times.')
        ids, times = content['ids'], content['times']
        wrong = [t for t in times if type(t) is not int or t < 0]
        if wrong or len(ids) != len(times):
            raise ValueError(
                f'{repeats} has {len(ids)} ids and {len(times)} times, which '
                'must be as many whole numbers, 0 or more. Wrong are: '
                f'{some(wrong)}.')
        # An image and its repetitions stand side by side, so that a position
        # depends on the images before it alone; samplers shuffle them.
        times_of = dict(zip(ids, times))
        entries = map(self.dataset.get_data_info, range(len(self.dataset)))
        counts = np.fromiter(
            (1 + times_of.get(entry['img_id'], 0) for entry in entries),
            np.int64, len(self.dataset))
        self._index = np.repeat(np.arange(len(self.dataset)), counts)

    @property
    def metainfo(self) -> dict:
        """That of the data set."""
        return self.dataset.metainfo

    @property
    def pipeline(self) -> Any:
        """That of the data set; hooks such as ``PipelineSwitchHook`` put
        another one in its place."""
        return self.dataset.pipeline

    @pipeline.setter
    def pipeline(self, pipeline: Any) -> None:
        self.dataset.pipeline = pipeline

    def full_init(self) -> None:
        """It is ready from the start."""

    def get_data_info(self, idx: int) -> dict:
        """The entry of an image, before the pipeline."""
        return self.dataset.get_data_info(self._at(idx))

    def get_cat_ids(self, idx: int) -> list[int]:
        """The labels on an image, for samplers that balance classes."""
        return self.dataset.get_cat_ids(self._at(idx))

    def __getitem__(self, idx: int) -> Any:
        return self.dataset[self._at(idx)]

    def __len__(self) -> int:
        return len(self._index)

    def _at(self, idx: int) -> int:
        return int(self._index[idx])
