"""The config of a single query, with any detector."""
from __future__ import annotations

import argparse
import os
import os.path as osp
from typing import Optional

from mmdet.registry import DATASETS
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from mmal.compat.checkpoints import check_exists, load_checkpoint
from mmal.dist import on_main
from mmal.fileio import write_json
from mmal.pool.coco import read_content
from mmal.pool.formats import folder_to_coco
from .cli import load_config, merge_options, read_options
from .dataset_config import innermost_dataset
from .mmdet_schema import check_mmdet_config
from .presets import DEFAULT_SCORER, DEFAULT_SELECTOR, SELECTORS, preset
from .round_config import classes_of, test_pipeline
from .settings import KEY, Settings, image_prefix


def query_config(args: argparse.Namespace) -> Config:
    """What the command line and the config say together.

    A config with a pool in its ``active_learning`` block is that of a run:
    what the command line names replaces what stands there. Any other is that
    of a detector: of its data sets only the classes and the test pipeline are
    used, so that none of them need be there.

    Args:
        args (argparse.Namespace): ``config``, ``checkpoint``, ``pool``,
            ``pool_images``, ``budget``, ``scorer``, ``selector`` and
            ``labelled``; and see
            :func:`~mmal.engine.cli.prepare_config`.

    Returns:
        Config: With a whole ``active_learning`` block. Where ``pool`` is not
        None, :func:`prepare_pool` comes next.

    Raises:
        FileNotFoundError: If there is no such config, checkpoint or pool.
        ValueError: If something needed is not said, or does not make sense.
    """
    cfg = load_config(args, default_suffix='_select')
    check_exists(args.checkpoint)
    if args.pool is not None and not osp.exists(args.pool):
        raise FileNotFoundError(
            f'--pool: there is no {args.pool}. Give a COCO json, or a folder '
            'of photos.')
    block = cfg.get(KEY)
    if block is None or isinstance(block, dict):  # else Settings says so
        data = (block or {}).get('data')
        options = read_options(args.cfg_options or [])
        if not isinstance(data, dict) or 'ann_file' not in data:
            _detect_on_pool(cfg, args, options)
        cfg[KEY] = ConfigDict(_block(dict(block or {}), args, cfg.work_dir))
        merge_options(
            cfg, {k: v for k, v in options.items()
                  if k.startswith(f'{KEY}.')})
    # the block first, so that its mistakes are named before others
    Settings.from_config(cfg)
    check_mmdet_config(cfg, trains=False)
    return cfg


def prepare_pool(cfg: Config, args: argparse.Namespace) -> None:
    """Make a pool of a folder of photos, and find the images of a json.

    Every process calls it, after the processes know each other.

    Args:
        cfg (Config): From :func:`query_config`; changed in place.
        args (argparse.Namespace): The same.

    Raises:
        OSError, ValueError: If the photos cannot be listed or read.
    """
    settings = Settings.from_config(cfg)
    dataset = innermost_dataset(cfg.train_dataloader.dataset)
    # the data set of a run, whose images are where the config says
    of_run = 'ann_file' in dataset

    def find() -> Optional[str]:
        if osp.isdir(args.pool):
            # photos keep their ids when the folder has grown
            path = settings.data.ann_file
            pool = folder_to_coco(args.pool, list(classes_of(dataset)), path)
            os.makedirs(osp.dirname(path), exist_ok=True)
            write_json(path, pool.coco)
            print_log(pool.summary(path), 'current')
            return osp.abspath(args.pool)
        if args.pool_images is not None or of_run:
            return args.pool_images
        content = read_content(args.pool)
        images = content.get('images') if isinstance(content, dict) else None
        beside = osp.dirname(osp.abspath(args.pool))
        for folder in (image_prefix(dataset), beside):
            for image in (images or [])[:1]:
                if osp.isfile(osp.join(folder, str(image.get('file_name')))):
                    return folder
        return beside  # whoever reads the photos says that they are not there

    folder = on_main(find)
    if folder is not None:
        place = dict(
            data_root='', data_prefix=dict(img=osp.abspath(folder)))
        cfg[KEY].data.update(place)
        if not of_run:
            dataset.update(place)


def _detect_on_pool(cfg: Config, args: argparse.Namespace,
                    options: dict) -> None:
    """Let a detector's config read nothing but the pool."""
    if args.pool is None:
        raise ValueError(
            f'{args.config} has no active_learning block that names a pool: '
            'give a COCO json or a folder of photos with --pool.')
    if args.budget is None and 'active_learning.budget.size' not in options:
        raise ValueError('--budget is needed: how many images to choose.')
    loader = dict(cfg.get('train_dataloader') or {})
    images = ''
    if 'dataset' in loader:
        images = image_prefix(_first_dataset(loader['dataset']))
    dataset = dict(
        type='mmdet.CocoDataset',
        metainfo=dict(classes=_classes(cfg, args.checkpoint)),
        data_prefix=dict(img=images),
        pipeline=test_pipeline(cfg))
    cfg.train_dataloader = ConfigDict(loader, dataset=dataset)
    for key in ('val_dataloader', 'val_evaluator', 'val_cfg',
                'test_dataloader', 'test_evaluator', 'test_cfg'):
        cfg[key] = None
    cfg.test_dataloader = ConfigDict(dataset=dataset)


def _classes(cfg: Config, checkpoint: str) -> tuple[str, ...]:
    """Those the detector was trained for, or else those of its config."""
    # mapped: of hundreds of megabytes only the names are read
    meta = load_checkpoint(checkpoint, mmap=True).get('meta')
    if isinstance(meta, dict):
        for names in (meta.get('dataset_meta'), meta):
            for key in ('classes', 'CLASSES'):
                if isinstance(names, dict) and names.get(key):
                    return tuple(names[key])
    key = 'train_dataloader' if cfg.get('train_dataloader') else \
        'test_dataloader'
    dataset = _first_dataset(cfg[key].dataset)
    metainfo = dataset.get('metainfo') or {}
    if 'classes' not in metainfo:
        metainfo = DATASETS.get(dataset['type']).METAINFO
    return classes_of(
        dict(type='mmdet.CocoDataset', metainfo=metainfo), f'{key}.dataset')


def _first_dataset(dataset: dict) -> dict:
    """The data set inside wrappers, the first one where several are joined:
    those that train one detector have the same classes."""
    while 'dataset' in dataset or 'datasets' in dataset:
        dataset = dataset.get('dataset') or dataset['datasets'][0]
    return dataset


def _block(block: dict, args: argparse.Namespace, folder: str) -> dict:
    """An ``active_learning`` block with what the command line names."""
    labelled = args.labelled is not None
    if args.pool is not None:
        path = args.pool
        if osp.isdir(path):
            path = osp.join(folder, 'pool.json')
        block['data'] = {**block.get('data', {}),
                         'ann_file': osp.abspath(path)}
    if args.budget is not None:
        block['budget'] = {**block.get('budget', {}), 'size': args.budget}

    # What is named replaces the config's with all that belongs to it.
    if args.selector is not None:
        block['selector'] = preset('selector', args.selector, labelled)
        block.pop('embedder', None)
    elif not _has_type(block.get('selector')):
        block['selector'] = preset('selector', DEFAULT_SELECTOR, labelled)
    scorer = args.scorer
    if scorer is None and not _has_type(block.get('scorer')):
        named = SELECTORS.get(args.selector)
        scorer = named and named.scorer or DEFAULT_SCORER
    if scorer is not None:
        block['scorer'] = preset('scorer', scorer, labelled)
        block.pop('committee', None)
    return block


def _has_type(part: Optional[dict]) -> bool:
    return isinstance(part, dict) and 'type' in part
