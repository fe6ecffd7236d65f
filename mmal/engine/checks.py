"""Everything that can be found wrong before the first training step."""
from __future__ import annotations

import copy
import math
import os.path as osp
from typing import Optional

from mmdet.registry import MODELS
from mmengine.config import Config
from torch import nn

from mmal.compat.checkpoints import split_sha256
from mmal.compat.quiet import quiet_log
from mmal.models.utils import preserve_rng_state
from mmal.pool import (
    CocoData,
    check_boxes,
    check_classes,
    check_images,
    load_images,
    load_with_images,
)
from .build import build_from
from .dataset_config import image_loader, innermost_dataset
from .mmdet_schema import check_mmdet_config
from .round_config import classes_of
from .schema import clip
from .settings import Settings, absolute, image_prefix

# which have a class for each category
_HEADS = ('bbox_head', 'cls_head')
# at most so many validation images are loaded before a run, evenly spread
_LOADED = 200


def check_config(cfg: Config, settings: Settings) -> None:
    """Check what needs neither data nor a model.

    Raises:
        FileNotFoundError, ValueError: Naming the key.
    """
    check_mmdet_config(cfg)
    if not settings.initial:
        raise ValueError(
            'active_learning.initial must be set: size (a number of images '
            'drawn at random) or ann_file (a COCO json).')
    if settings.target and not cfg.get('val_dataloader'):
        raise ValueError(
            'active_learning.target is set but the config has no '
            'val_dataloader: without validation no target is ever reached.')
    if settings.stop and not cfg.get('val_dataloader'):
        raise ValueError(
            'active_learning.stop is set but the config has no '
            'val_dataloader: without validation no rule ever holds.')
    for rule in settings.stop:
        build_from('stop', rule)
    if cfg.get('load_from'):
        path = split_sha256(cfg.load_from)[0]
        if not _exists(path):
            raise FileNotFoundError(f'load_from: there is no {path}.')


def check_pool(full: CocoData, dataset: dict,
               allow_others: bool = False) -> None:
    """Check that a pool's categories are the classes of the data set.

    Args:
        full (CocoData): The pool.
        dataset (dict): Config of its data set.
        allow_others (bool): Whether annotations of other classes are ignored.
    """
    check_classes(full, classes_of(dataset),
                  'train_dataloader.dataset.metainfo.classes', allow_others)


def check_val(cfg: Config, allow_others: bool = False
              ) -> tuple[Optional[CocoData], list[str]]:
    """Read and check the validation file, its categories and images.

    All images are read to their last byte, for a truncated one would stop
    the run after its first training or be evaluated half grey. How the
    loader gets on with such files shows on a few of them.

    Args:
        cfg (Config): The config of a run.
        allow_others (bool): Whether annotations of other classes are ignored.

    Returns:
        tuple[CocoData | None, list[str]]: Its content, None where there is
        no validation; and what a reader should know of the images.

    Raises:
        FileNotFoundError, ValueError: Naming the file and the key.
    """
    if not cfg.get('val_dataloader'):
        return None, []
    dataset = innermost_dataset(cfg.val_dataloader.dataset)
    classes = classes_of(dataset, 'val_dataloader.dataset')
    loader = image_loader(dataset.get('pipeline') or ())
    prefix = image_prefix(dataset)
    try:
        coco = load_with_images(
            absolute(dataset, dataset['ann_file']), prefix, loader=loader)
    except IsADirectoryError as e:
        raise ValueError(f'val_dataloader.dataset.ann_file: {e}') from e
    check_boxes(coco)
    check_classes(coco, classes, 'val_dataloader.dataset.metainfo.classes',
                  allow_others)
    spread = coco.ids[::math.ceil(len(coco.ids) / _LOADED) or 1]
    inspected = load_images(coco, prefix, loader, spread)
    loaded = set(spread)
    unreadable = inspected.unreadable + check_images(
        coco, prefix, [i for i in coco.ids if i not in loaded], decode=True,
        loader=loader)
    if unreadable:
        raise FileNotFoundError(
            f'{len(unreadable)} image(s) of val_dataloader are unreadable, '
            f'the first is {unreadable[0]}. Replace them, or remove them '
            f'from {coco.path}.')
    evaluators = cfg.val_evaluator
    if isinstance(evaluators, dict):
        evaluators = [evaluators]
    for evaluator in evaluators:
        path = evaluator.get('ann_file')
        if path and not _exists(path):
            raise FileNotFoundError(
                f'val_evaluator.ann_file: there is no {path}.')
    notes = [f'{coco.path}: {inspected.note}'] if inspected.note else []
    return coco, notes


def check_model(cfg: Config, dataset: dict) -> nn.Module:
    """Build the detector on the CPU and compare it with the classes.

    Args:
        cfg (Config): The run's config.
        dataset (dict): The pool's data set.

    Returns:
        nn.Module: The detector with random weights, in eval mode.

    Raises:
        ValueError: If the detector cannot be built or initialised, a head has
            another number of classes, or a batch too few images.
    """
    try:
        model = MODELS.build(copy.deepcopy(cfg.model)).eval()
    except Exception as e:  # whatever a module makes of its arguments
        raise ValueError(f'model cannot be built: {type(e).__name__}: '
                         f'{clip(str(e), 500)}') from e
    with preserve_rng_state():
        # Some detectors cannot detect at all before (Sparse R-CNN learns its
        # proposals). Pretrained weights, which may have to be downloaded,
        # are of no use here.
        for module in model.modules():
            init_cfg = getattr(module, 'init_cfg', None)
            if isinstance(init_cfg, dict) and 'checkpoint' in init_cfg:
                module.init_cfg = None
        try:
            with quiet_log():  # a line for each parameter
                model.init_weights()
        except Exception as e:  # whatever an init_cfg makes of its arguments
            raise ValueError(
                f'model cannot be initialised (init_cfg): {type(e).__name__}: '
                f'{clip(str(e), 500)}') from e
    classes = classes_of(dataset)
    for name, module in model.named_modules():
        number = getattr(module, 'num_classes', None)
        if name.endswith('rpn_head') or not isinstance(number, int):
            continue
        if name.endswith(_HEADS) and number != len(classes):
            raise ValueError(
                f'model.{name}.num_classes is {number}, but the data set has '
                f'{len(classes)} classes: make them equal.')
    # a detector that learns its loss compares the images of a batch
    size = cfg.train_dataloader.get('batch_size', 1)
    if hasattr(model, 'predict_losses') and size < 2:
        raise ValueError(
            f'train_dataloader.batch_size is {size}, but '
            f'{type(model).__name__} learns to rank the images of a batch by '
            'their loss: give at least 2.')
    return model


def _exists(path: str) -> bool:
    return '://' in path or osp.exists(path)
