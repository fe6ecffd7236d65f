"""The images a scorer may read, in batches that every process agrees on.

A score must not depend on the batch size or the number of processes. mmdet
pads the images of a batch to one shape, so only images of equal size share a
batch; and the batches are planned over the whole pool before they are dealt
out to the processes.
"""
from __future__ import annotations

import copy
import gc
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Optional

import numpy as np
from mmdet.registry import DATASETS
from mmengine.config import ConfigDict
from mmengine.dist import get_dist_info, get_rank
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from mmal.pool import CocoData, ExpectedImage
from mmal.types import ImageId
from .batch import Batch, collate
from .embeddings.base import BackboneEmbedder, BaseEmbedder
from .pool_dataset import images_dataset

if TYPE_CHECKING:
    from mmal.models.committees import BaseCommittee


_LOADERS = ('LoadImageFromFile', )


@dataclass
class Split:
    """A named set of images.

    Args:
        dataset (dict): Config of a COCO dataset, its pipeline the detector's
            test pipeline.
        labels (bool): Whether annotations are loaded.
        ids (sequence, optional): Only these images, in the order of the
            file; all when None.
        images (CocoData, optional): Images in memory; no file is read then,
            and there are no annotations.
    """
    dataset: dict
    labels: bool
    ids: Optional[Sequence[ImageId]] = None
    images: Optional[CocoData] = None


class ScoringData:
    """Gives a scorer batches of the splits it may see.

    Args:
        splits (dict[str, Split]): E.g. ``unlabelled``, ``labelled``,
            ``initial`` and ``val``. ``unlabelled`` never has labels.
        seed (int): The seed of the active learning run.
        round (int): The round, from 0.
        batch_size (int): Images of a forward pass.
        num_workers (int): Processes that load images.
        check_image (callable, optional): Takes a path, ``size``, a (width,
            height), and, when the pipeline fails on an image,
            ``load=True``, to load it as the pipeline does; returns why the
            file is unreadable, or None.
        progress (bool): Whether process 0 shows a progress bar.
        committee (BaseCommittee, optional): Several opinions on a batch.
        embedder (BaseEmbedder, optional): Gives embeddings where they are
            wanted; :class:`BackboneEmbedder` when None.
        precision (str): What forward passes are computed in, see
            :func:`~mmal.models.utils.evaluation_mode.forward_precision`.
        costs (tuple[float, float]): What the budget takes for a box, and for
            an image without boxes.

    Attributes:
        unreadable (dict[str, dict[int | str, str]]): For each split the
            images that this process could not read, and why.
        read (dict[str, set[int | str]]): For each split those that it has
            read.
    """

    def __init__(self,
                 splits: dict[str, Split],
                 seed: int = 0,
                 round: int = 0,
                 batch_size: int = 8,
                 num_workers: int = 2,
                 check_image: Optional[Callable] = None,
                 progress: bool = True,
                 committee: Optional[BaseCommittee] = None,
                 embedder: Optional[BaseEmbedder] = None,
                 precision: str = 'fp32',
                 costs: tuple[float, float] = (1., 0.)) -> None:
        self.splits = splits
        self.seed = seed
        self.round = round
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.check_image = check_image
        self.progress = progress
        self.committee = committee
        self.embedder = embedder or BackboneEmbedder()
        self.precision = precision
        self.costs = costs
        self.unreadable: dict[str, dict[ImageId, str]] = defaultdict(dict)
        self.read: dict[str, set[ImageId]] = defaultdict(set)
        self._datasets: dict[str, Dataset] = {}
        self._ids: dict[str, list[ImageId]] = {}
        self._trained: dict[str, set[ImageId]] = {}
        self._sizes: dict[str, np.ndarray] = {}
        self._plans: dict[tuple, list[list[int]]] = {}

    def ids(self, split: str) -> list[ImageId]:
        """Image ids of a split in the order of its file."""
        self._dataset(split)
        ids, keep = self._ids[split], self.splits[split].ids
        if keep is None:
            return list(ids)
        wanted = set(keep)
        return [i for i in ids if i in wanted]

    def trained_ids(self, split: str) -> list[ImageId]:
        """:meth:`ids` without those that the data set would not train on
        (``filter_cfg``: no boxes of its classes, or too small)."""
        ids, cfg = self.ids(split), self.splits[split].dataset
        if not cfg.get('filter_cfg'):
            return ids
        if split not in self._trained:
            cfg = ConfigDict(copy.deepcopy(cfg))
            cfg.update(test_mode=False, pipeline=[])
            dataset = DATASETS.build(cfg)
            self._trained[split] = {dataset.get_data_info(n)['img_id']
                                    for n in range(len(dataset))}
        return [i for i in ids if i in self._trained[split]]

    def files(self, split: str) -> dict[ImageId, ExpectedImage]:
        """The file of each image of a split."""
        dataset = self._dataset(split)
        infos = map(dataset.get_data_info, range(len(dataset)))
        wanted = set(self.ids(split))
        return {
            info['img_id']: ExpectedImage(info['img_path'],
                                          (info['width'], info['height']))
            for info in infos if info['img_id'] in wanted
        }

    def class_counts(self, split: str) -> tuple[np.ndarray, tuple[str, ...]]:
        """The boxes on each image of a split with labels.

        Args:
            split (str): Its name.

        Returns:
            tuple: int64 [N, C] in the order of :meth:`ids`, without boxes
            that are ignored; and the names of the classes.
        """
        dataset = self._dataset(split)
        names = tuple(dataset.metainfo['classes'])
        counts = {}
        for n in range(len(dataset)):
            info = dataset.get_data_info(n)
            counts[info['img_id']] = np.bincount(
                [box['bbox_label'] for box in info['instances']
                 if not box['ignore_flag']], minlength=len(names))
        rows = [counts[i] for i in self.ids(split)]
        return np.array(rows, np.int64).reshape(-1, len(names)), names

    def num_batches(self, split: str, ids=None) -> int:
        """How many batches a split makes over all processes."""
        return len(self._plan(split, ids))

    def batches(self,
                split: str,
                model: nn.Module,
                ids: Optional[Iterable[ImageId]] = None,
                shard: bool = True,
                desc: Optional[str] = None) -> Iterator[Batch]:
        """Iterate over a split.

        Images that cannot be read are left out and noted in
        ``self.unreadable[split]``.

        Args:
            split (str): The name of the split.
            model (nn.Module): The detector; its data preprocessor is used.
            ids (iterable, optional): Only these images.
            shard (bool): Only this process' share of the batches.
            desc (str, optional): What the progress bar says.

        Yields:
            Batch: Batches of images of one size, largest images first.
        """
        dataset = self._dataset(split)
        plan = self._plan(split, ids)
        rank, world_size = get_dist_info()
        if shard:
            # Dealt out in turn, so that all processes have large images and
            # small ones, and end at about the same time.
            plan = plan[rank::world_size]
        loader = DataLoader(
            _ReadableDataset(dataset, self.check_image),
            batch_sampler=plan,
            num_workers=min(self.num_workers, len(plan)),
            collate_fn=list,
            # a GPU fetches images from pinned memory while others are scored
            pin_memory=next(model.parameters()).is_cuda)
        with self.bar(sum(map(len, plan)), desc, unit='img') as bar:
            for items in _start(loader):
                # Images of one size as the file says; a pipeline may still
                # give them shapes of their own.
                by_shape = defaultdict(list)
                for item in items:
                    if isinstance(item, _Unreadable):
                        info = dataset.get_data_info(item.index)
                        self.unreadable[split][info['img_id']] = item.reason
                    else:
                        by_shape[item['inputs'].shape].append(item)
                for of_shape in by_shape.values():
                    batch = collate(of_shape, model)
                    self.read[split].update(batch.ids)
                    yield batch
                bar.update(len(items))

    def batch(self, split: str, model: nn.Module, index: int,
              ids: Optional[Sequence[ImageId]] = None) -> Batch:
        """One batch of a split by its number, without workers.

        Args:
            split (str): The name of the split.
            model (nn.Module): The detector; its data preprocessor is used.
            index (int): In [0, :meth:`num_batches`).
            ids (sequence, optional): Only these images.

        Raises:
            ValueError: If the pipeline gives images of equal size different
                shapes.
        """
        dataset = self._dataset(split)
        items = [dataset[i] for i in self._plan(split, ids)[index]]
        if len({item['inputs'].shape for item in items}) > 1:
            raise ValueError(
                'the test pipeline gives images of the same size different '
                'shapes: remove what is random in it.')
        return collate(items, model)

    def id_batches(self, split: str) -> Iterator[Batch]:
        """This process' share of a split without its images."""
        ids = self.ids(split)
        rank, world_size = get_dist_info()
        for start in range(0, len(ids), 1024):
            if start // 1024 % world_size == rank:
                yield Batch(ids[start:start + 1024])

    def _dataset(self, name: str) -> Dataset:
        if name not in self.splits:
            raise KeyError(f'there is no split {name!r}; there are '
                           f'{", ".join(self.splits)}.')
        if name not in self._datasets:
            split = self.splits[name]
            dataset = self._datasets[name] = build_dataset(split)
            if split.images is not None:
                ids = split.images.ids if split.ids is None else split.ids
                self._ids[name] = list(ids)
                self._sizes[name] = split.images.sizes_of(ids)
            else:
                infos = [dataset.get_data_info(i) for i in range(len(dataset))]
                self._ids[name] = [info['img_id'] for info in infos]
                self._sizes[name] = np.array(
                    [(info['width'], info['height']) for info in infos],
                    np.float64).reshape(-1, 2)
        return self._datasets[name]

    def _plan(self, split: str, ids=None) -> list[list[int]]:
        wanted = self.splits[split].ids if ids is None else ids
        # Kept, as finding the sizes of a whole pool takes a while, and the
        # batches of an operator are asked for one by one.
        key = (split, None if wanted is None else tuple(wanted))
        if key not in self._plans:
            self._dataset(split)
            at = None
            if wanted is not None:
                wanted = set(wanted)
                at = [n for n, i in enumerate(self._ids[split])
                      if i in wanted]
            self._plans[key] = plan_batches(
                self._sizes[split], self.batch_size, at)
        return self._plans[key]

    def expected_cost(self, boxes: Tensor) -> Tensor:
        """What the budget takes for images that are expected to have so many
        boxes [B]; at least one, for an image in which nothing is seen would
        cost nothing, whatever it is worth."""
        of_box, of_image = self.costs
        return of_box * boxes.clamp(min=1) + of_image

    def bar(self, total: Optional[int], desc: Optional[str],
            unit: str = 'step') -> tqdm:
        """A progress bar with the time left, in process 0 alone.

        Args:
            total (int, optional): Steps; may be set later.
            desc (str, optional): What it says; no bar without it.
            unit (str): What a step is.
        """
        return tqdm(
            total=total,
            desc=desc,
            unit=unit,
            disable=not self.progress or get_rank() != 0 or desc is None,
            mininterval=0.5 if sys.stderr.isatty() else 10)


def build_dataset(split: Split) -> Dataset:
    """Build the mmdet dataset of a split, with or without annotations."""
    # Neither repeated nor filtered: every image of the split gets a score.
    cfg = ConfigDict(copy.deepcopy(split.dataset))
    cfg.test_mode = True
    cfg.filter_cfg = None
    cfg.pipeline = scoring_pipeline(cfg.pipeline, split.labels)
    if split.images is None:
        return DATASETS.build(cfg)
    return images_dataset(
        cfg, split.images,
        split.images.ids if split.ids is None else split.ids)


def _start(loader: DataLoader) -> Iterator:
    """The batches of a loader whose workers have just been forked.

    The garbage collector writes to every object that it looks at: in a worker
    it would copy all that is shared. Frozen, it leaves it in peace.
    """
    freezes = loader.num_workers and not gc.get_freeze_count()
    if freezes:
        gc.freeze()
    try:
        return iter(loader)
    finally:
        if freezes:  # in this process alone
            gc.unfreeze()


def scoring_pipeline(pipeline: Sequence[dict], labels: bool) -> list[dict]:
    """A test pipeline that loads boxes early, or never.

    mmdet's test pipelines load annotations after resizing, where the boxes
    stay in the coordinates of the original image. A loss needs them in those
    of the network's input, so they are loaded right after the image.

    Args:
        pipeline (sequence[dict]): The detector's test pipeline.
        labels (bool): Whether boxes are loaded.

    Returns:
        list[dict]: The new pipeline.

    Raises:
        ValueError: If the pipeline has no step that loads the image.
    """
    steps = [s for s in pipeline if 'LoadAnnotations' not in s['type']]
    if not labels:
        return steps
    for i, step in enumerate(steps):
        if is_loader(step):
            load = dict(type='mmdet.LoadAnnotations', with_bbox=True)
            return [*steps[:i + 1], load, *steps[i + 1:]]
    raise ValueError(
        'the test pipeline has no LoadImageFromFile, so boxes cannot be '
        'loaded beside the image: give test_dataloader.dataset.pipeline one.')


def is_loader(step: dict) -> bool:
    """Whether a step of a pipeline is the one that loads the image."""
    return step['type'].split('.')[-1].startswith(_LOADERS)


def plan_batches(sizes: np.ndarray,
                 batch_size: int,
                 at: Optional[Sequence[int]] = None) -> list[list[int]]:
    """Deal the images into batches of equal size in pixels.

    The plan depends on the images alone, not on the process that asks.
    O(N log N).

    Args:
        sizes (np.ndarray): [N, 2], width and height of N images.
        batch_size (int): At most so many images in a batch.
        at (sequence[int], optional): Only these of them, ascending.

    Returns:
        list[list[int]]: Positions; the largest images come first, so that
        memory runs out at once or never.
    """
    at = np.arange(len(sizes)) if at is None else np.array(at, np.int64)
    if not len(at):
        return []
    kinds, of_image = np.unique(sizes[at], axis=0, return_inverse=True)
    # stable: images of a size stay in the order of the file
    groups = np.split(at[np.argsort(of_image.ravel(), kind='stable')],
                      np.cumsum(np.bincount(of_image.ravel()))[:-1])
    largest_first = np.argsort(-kinds.prod(1), kind='stable')
    return [
        groups[n][start:start + batch_size].tolist() for n in largest_first
        for start in range(0, len(groups[n]), batch_size)
    ]


@dataclass
class _Unreadable:
    """What stands for an image that cannot be read."""
    index: int
    reason: str


class _ReadableDataset(Dataset):
    """Gives a note instead of an image that cannot be read."""

    def __init__(self, dataset: Dataset,
                 check_image: Optional[Callable]) -> None:
        self.dataset = dataset
        self.check_image = check_image

    def __getitem__(self, index: int):
        if self.check_image is None:
            return self.dataset[index]
        info = self.dataset.get_data_info(index)
        size = (info['width'], info['height'])
        reason = self.check_image(info['img_path'], size=size)
        if reason is not None:
            return _Unreadable(index, reason)
        try:
            return self.dataset[index]
        except Exception:
            # whole, but perhaps of a kind that the loader cannot read: only
            # then is it worth the time to load it twice
            reason = self.check_image(info['img_path'], size=size, load=True)
            if reason is None:
                raise
            return _Unreadable(index, reason)

    def __len__(self) -> int:
        return len(self.dataset)
