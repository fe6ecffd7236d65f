"""One query with a trained model, outside a run."""
from __future__ import annotations

import logging
import os
import os.path as osp
from dataclasses import replace
from typing import Optional

from mmengine.config import Config
from mmengine.logging import print_log
from torch import nn

from mmal.dist import on_main, only_on_main
from mmal.fileio import discard_leftovers, write_text
from mmal.pool import (
    BaseOracle,
    CocoData,
    CocoOracle,
    load_coco,
    load_with_images,
    refuse_addresses,
    write_split,
)
from mmal.pool.layout import RoundDir
from mmal.pool.names import NameIndex
from mmal.scoring.data import Split
from mmal.types import ImageId
from .build import build
from .checks import check_pool
from .dataset_config import image_loader, innermost_dataset
from .query import Query
from .query_checks import check_committee
from .query_result import QueryResult
from .round_config import test_pipeline
from .settings import Settings, absolute, image_prefix, pool_dataset


class UnlabelledOracle(BaseOracle):
    """Stands for a pool that nobody has labelled: it knows nothing."""

    knows_counts = False

    def annotate(self, ids) -> list[dict]:
        """Always an error."""
        raise ValueError('nobody has labelled these images yet.')


def query_once(cfg: Config,
               model: nn.Module,
               folder: str,
               labelled: Optional[str] = None,
               labelled_images: Optional[str] = None) -> QueryResult:
    """Score the images of a pool that are not labelled yet and choose.

    Writes ``scores.npz``, ``selected.json`` and
    ``selected.txt`` (file names, best first); with a selector that needs
    them, ``embeddings.npy`` and ``embeddings_labelled.npy``. With
    ``active_learning.candidates='all'`` the labelled images of the pool
    compete too: those that are reselected are in ``reselected.txt`` and not in
    ``selected.txt``, for nobody has to label them.

    Args:
        cfg (Config): An mmdet config with an ``active_learning`` block; its
            ``data``, ``budget``, ``scorer``, ``selector`` and ``committee``
            are used; an ensemble needs ``checkpoints``.
        model (nn.Module): The trained detector.
        folder (str): Where the files go.
        labelled (str, optional): COCO file of the labelled images. Those of
            the pool with the same file name are labelled. Without it no
            image is, and scorers that need labels cannot be used.
        labelled_images (str, optional): The folder of these images. Without
            it they are read where the training images of the config are; if
            these are where the pool's are, one at least must be in the pool.

    Returns:
        QueryResult: The same in every process.

    Raises:
        FileNotFoundError, ValueError: If a file or a setting is wrong.
    """
    settings = Settings.from_config(cfg)
    dataset = pool_dataset(cfg, settings)
    files = RoundDir(osp.abspath(folder))
    trained = innermost_dataset(cfg.train_dataloader.dataset)
    elsewhere = osp.abspath(labelled_images or image_prefix(
        trained)) != osp.abspath(image_prefix(dataset))
    # The other processes never see an annotation of the pool.
    read = only_on_main(lambda: _read_pool(
        dataset, labelled, elsewhere, labelled_images is None, files))
    full, left = read or (None, None)
    pool, left = on_main(lambda: (full.without_annotations(), left))
    oracle = only_on_main(
        lambda: CocoOracle(pool=full)
        if full.annotations else UnlabelledOracle(full))
    query = Query(settings, pool, image_prefix(dataset),
                  image_loader(test_pipeline(cfg)))
    if labelled is None and query.scorer.needs_labels:
        raise ValueError(
            f'{type(query.scorer).__name__} needs labelled images: name '
            'their COCO file with --labelled.')
    if labelled is None and query.selector.needs_labelled:
        raise ValueError(
            f'{type(query.selector).__name__} starts from the labelled '
            'images: name their COCO file with --labelled, or set '
            'active_learning.selector.start.')
    check_committee(query.scorer, query.committee, model, in_run=False)
    splits = _splits(cfg, dataset, files, pool, left, labelled,
                     labelled_images, settings.reselects)
    query.check(model, splits, on_main(lambda: oracle.knows_counts))
    result = query.run(model, splits, 0, files, oracle)
    if result.note:
        print_log(f'{result.note}.', 'current', logging.WARNING)

    def write_names() -> None:
        lists = {files.selected_names: result.new}
        if settings.reselects:
            lists[files.reselected_names] = result.reselected
        for file, ids in lists.items():
            names = [pool.images[i]['file_name'] for i in ids]
            write_text(file, ''.join(f'{name}\n' for name in names))

    on_main(write_names)
    return result


def check_before_training(cfg: Config, model: nn.Module) -> None:
    """Check the committee of a query that comes after a training.

    Raises:
        FileNotFoundError, ValueError: Naming the key.
    """
    settings = Settings.from_config(cfg)
    check_committee(
        build(settings, 'scorer'),
        build(settings, 'committee'),
        model,
        in_run=False)


def query_after_training(cfg: Config, model: nn.Module,
                         folder: str) -> QueryResult:
    """:func:`query_once` with the images trained on as the labelled ones."""
    dataset = innermost_dataset(cfg.train_dataloader.dataset)
    labelled = absolute(dataset, dataset['ann_file'])
    return query_once(cfg, model, folder, labelled, image_prefix(dataset))


def _read_pool(dataset: dict, labelled: Optional[str], elsewhere: bool,
               must_match: bool,
               files: RoundDir) -> tuple[CocoData, list[ImageId]]:
    """Read the pool and find what there is to choose from; the folder holds
    nothing of another query then.

    Args:
        dataset (dict): Config of the pool's data set.
        labelled (str, optional): COCO file of the labelled images.
        elsewhere (bool): Whether their folder is not the pool's.
        must_match (bool): Whether one of them must be in the pool if their
            folder is the pool's.
        files (RoundDir): Where the files go.

    Returns:
        tuple[CocoData, list[int | str]]: The pool, and its images that are
        not labelled.
    """
    loader = image_loader(dataset.get('pipeline') or ())
    full = load_with_images(
        dataset['ann_file'], image_prefix(dataset), need_annotations=False,
        loader=loader)
    if full.annotations:  # categories that nobody uses may be any
        check_pool(full, dataset)
    labelled_names, renamed = set(), []
    if labelled is not None:
        coco = load_coco(labelled)
        refuse_addresses(coco, loader)
        check_pool(coco, dataset)
        # by name: the ids of two files need not agree
        names = coco.file_names
        matched = NameIndex(set(full.file_names)).match(names)
        labelled_names = set(matched.values())
        renamed = [n for n, image in matched.items() if n != image]
        if renamed:
            print_log(
                f'{len(renamed):,} images of {labelled} are known by other '
                f'names in {full.path}: {renamed[0]!r} is '
                f'{matched[renamed[0]]!r}.', 'current', logging.WARNING)
        if not labelled_names and must_match and not elsewhere:
            raise ValueError(
                f'no image of {labelled} is in {full.path} by its file name '
                f'(e.g. {names[0]!r}; the pool has e.g. '
                f'{full.file_names[0]!r}). If none '
                'of the pool is labelled, say where the labelled images are '
                'with --labelled-images.')
        print_log(
            f'{len(labelled_names):,} of {len(names):,} images of {labelled} '
            f'are in {full.path}, which has '
            f'{len(full.images) - len(labelled_names):,} others.', 'current',
            logging.INFO if labelled_names else logging.WARNING)
    left = [i for i, name in zip(full.ids, full.file_names)
            if name not in labelled_names]
    if not left:
        raise ValueError(
            f'every image of {full.path} is in {labelled}: nothing is left '
            'to select. Name another pool in active_learning.data.ann_file.')
    os.makedirs(files.path, exist_ok=True)
    discard_leftovers(files.path)
    for path in (files.scores, files.reselected_names,
                 files.labelled_renamed):
        if osp.exists(path):
            os.unlink(path)
    if renamed and not elsewhere:
        # they are read where the pool's images are, which have other names
        images = {
            i: dict(image, file_name=matched.get(image['file_name'],
                                                 image['file_name']))
            for i, image in coco.images.items()
        }
        write_split(files.labelled_renamed, replace(coco, images=images),
                    coco.ids, coco.annotations_of(coco.ids))
    return full, left


def _splits(cfg: Config, dataset: dict, files: RoundDir, pool: CocoData,
            left: list[ImageId], labelled: Optional[str],
            labelled_images: Optional[str],
            reselects: bool) -> dict[str, Split]:
    pipeline = test_pipeline(cfg)
    images = dict(dataset, pipeline=pipeline)
    splits = dict(unlabelled=Split(images, False, left, pool))
    if reselects:
        splits['candidates'] = Split(images, False, images=pool)
    if labelled is not None:
        if osp.exists(files.labelled_renamed):
            labelled = files.labelled_renamed
        trained = dict(
            innermost_dataset(cfg.train_dataloader.dataset),
            pipeline=pipeline,
            ann_file=osp.abspath(labelled))
        if labelled_images is not None:
            images = osp.abspath(labelled_images)
            trained.update(data_root='', data_prefix=dict(img=images))
        splits['labelled'] = splits['initial'] = Split(trained, labels=True)
    if cfg.get('val_dataloader'):
        val = dict(
            innermost_dataset(cfg.val_dataloader.dataset), pipeline=pipeline)
        splits['val'] = Split(val, labels=True)
    return splits
