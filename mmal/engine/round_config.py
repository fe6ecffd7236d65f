"""From the config of a run to the mmdet config of one round."""
from __future__ import annotations

import copy
import inspect
import os.path as osp
from hashlib import sha256
from typing import Optional

import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.fileio import list_from_file

from mmal.pool import CocoData, Pool
from mmal.pool.layout import RoundDir, WorkDir
from mmal.scoring.data import Split
from .dataset_config import innermost_dataset
from .reproducible import BACKEND, derive_seed
from .schema import short
from .settings import Settings, absolute, pool_dataset


def round_config(cfg: Config, settings: Settings, number: int,
                 folder: RoundDir, checkpoint: Optional[str],
                 member: int = 0) -> Config:
    """The config of one training: its data, names and seed.

    Args:
        cfg (Config): The config of the run; it is not changed.
        settings (Settings): Its ``active_learning`` block.
        number (int): The round, from 0.
        folder (RoundDir): Where the training lives.
        checkpoint (str, optional): Where to resume from.
        member (int): The member of an ensemble; 0 is the round's own model.
            The others are trained without validation.

    Returns:
        Config: Ready for ``Runner.from_cfg``.
    """
    cfg = copy.deepcopy(cfg)
    name = f'{run_name(cfg.work_dir)}_round_{number:02d}'
    if member:
        name += f'_member_{member:02d}'
    cfg.experiment_name = name
    if cfg.get('visualizer'):
        cfg.visualizer['name'] = name
    run_dir, cfg.work_dir = cfg.work_dir, folder.path
    _train_on(cfg, pool_dataset(cfg, settings), folder)
    val = WorkDir(run_dir).val
    if cfg.get('val_dataloader') and osp.exists(val):
        _validate_on(cfg, osp.abspath(val))
    _make_reproducible(cfg, member_seed(settings.seed, number, member))
    if member:
        for split in ('val', 'test'):
            for part in ('dataloader', 'cfg', 'evaluator'):
                cfg[f'{split}_{part}'] = None
        checkpoint_hook = cfg.default_hooks['checkpoint']
        for key in ('save_best', 'rule'):  # without validation there is none
            checkpoint_hook.pop(key, None)
        checkpoint_hook['max_keep_ckpts'] = 2
    cfg.resume = checkpoint is not None
    if checkpoint is not None:
        cfg.load_from = checkpoint
    if cfg.get('launcher', 'none') != 'none' and not torch.cuda.is_available():
        # mmengine's default, but for the device ids that only GPUs have
        cfg.setdefault(
            'model_wrapper_cfg',
            dict(
                type='MMDistributedDataParallel',
                device_ids=None,
                broadcast_buffers=False,
                find_unused_parameters=cfg.get('find_unused_parameters',
                                               False)))
    # the Runner saves a copy under this name in the round's folder
    return Config(
        cfg.to_dict(), cfg_text=cfg.pretty_text, filename=folder.config)


def _train_on(cfg: Config, pool: dict, folder: RoundDir) -> None:
    dataset = innermost_dataset(cfg.train_dataloader.dataset)
    for key in ('data_root', 'data_prefix'):
        if key in pool:
            dataset[key] = pool[key]
    dataset['ann_file'] = osp.abspath(folder.labelled)
    if osp.exists(folder.repeats):
        # inside all wrappers, so that Mosaic and the like see the
        # repetitions as well: the config is changed in place
        inner = dict(dataset)
        dataset.clear()
        dataset.update(
            type='mmal.RepeatImages',
            dataset=inner,
            repeats=osp.abspath(folder.repeats))


def _validate_on(cfg: Config, ann_file: str) -> None:
    """Let validation and its metrics read another file, with the same
    images."""
    dataset = innermost_dataset(cfg.val_dataloader.dataset)
    own = absolute(dataset, dataset['ann_file'])
    dataset['ann_file'] = ann_file
    evaluators = cfg.val_evaluator
    for evaluator in (evaluators if isinstance(evaluators, (list, tuple)) else
                      [evaluators]):
        if evaluator.get('ann_file') and osp.abspath(
                evaluator['ann_file']) == osp.abspath(own):
            evaluator['ann_file'] = ann_file


def run_name(work_dir: str) -> str:
    """A name that two runs in one process do not share.

    mmengine's loggers, visualizers and message hubs are found by name.
    """
    path = osp.abspath(work_dir)
    return f'{osp.basename(path)}_{sha256(path.encode()).hexdigest()[:8]}'


def member_seed(seed: int, number: int, member: int) -> int:
    """The seed of one training of a round.

    Args:
        seed (int): The seed of the run.
        number (int): The round, from 0.
        member (int): The member of an ensemble; 0 is the round's own model,
            trained as if there were no others.
    """
    key = (seed, number, member) if member else (seed, number)
    return derive_seed(*key)


def _make_reproducible(cfg: Config, seed: int) -> None:
    """Let a training end with the same weights however often it is killed."""
    cfg.randomness = {**cfg.get('randomness', {}), 'seed': seed}
    cfg.custom_hooks = [
        *(cfg.get('custom_hooks') or []),
        dict(type='mmal.EpochSeedHook', seed=seed)
    ]
    loader = cfg.train_dataloader
    loader['worker_init_fn'] = dict(type='mmal.seed_worker')
    train_cfg = cfg.train_cfg
    loop = (train_cfg.get('type') or '').rpartition('.')[2]
    if loop == 'IterBasedTrainLoop' or train_cfg.get('by_epoch') is False:
        # On resume mmengine passes over the batches that were trained on:
        # only workers draw the same random numbers for them again.
        loader['num_workers'] = max(1, loader.get('num_workers', 0))
    else:
        # New workers take their seeds from the epoch's, old ones would go on
        # from where the last epoch left them.
        loader['persistent_workers'] = False
    checkpoint = cfg.setdefault('default_hooks', {}).setdefault(
        'checkpoint', dict(type='CheckpointHook', interval=1))
    checkpoint.setdefault('backend_args', dict(backend=BACKEND))
    if checkpoint.get('max_keep_ckpts') == 1:
        # mmengine removes the old one before the new one is written
        checkpoint['max_keep_ckpts'] = 2


def scoring_splits(cfg: Config, settings: Settings, folder: RoundDir,
                   coco: CocoData, pool: Pool) -> dict[str, Split]:
    """The images a scorer may see in a round.

    Args:
        cfg (Config): The config of the run or of a round.
        settings (Settings): Its ``active_learning`` block.
        folder (RoundDir): The round; the file of labelled images is read.
        coco (CocoData): The images of the pool.
        pool (Pool): Which of them are labelled.

    Returns:
        dict[str, Split]: ``unlabelled`` (without labels), ``labelled``,
        ``initial``; ``candidates`` (without labels, the labelled images among
        them) if labelled images compete; and, where the config has one,
        ``val``.
    """
    pipeline = test_pipeline(cfg)
    images = dict(pool_dataset(cfg, settings), pipeline=pipeline)
    labelled = dict(images, ann_file=osp.abspath(folder.labelled))
    unlabelled = pool.unlabelled()
    splits = dict(
        unlabelled=Split(images, False, unlabelled, coco),
        labelled=Split(labelled, labels=True),
        initial=Split(labelled, labels=True,
                      ids=pool.labelled(0) if pool.num_rounds else []))
    if settings.reselects:
        may_compete = {*unlabelled, *pool.labelled()}
        splits['candidates'] = Split(
            images, False, [i for i in coco.ids if i in may_compete], coco)
    if cfg.get('val_dataloader'):
        val = dict(
            innermost_dataset(cfg.val_dataloader.dataset), pipeline=pipeline)
        repaired = WorkDir(cfg.get('work_dir') or '').val
        if osp.exists(repaired):
            val['ann_file'] = osp.abspath(repaired)
        splits['val'] = Split(val, labels=True)
    return splits


def test_pipeline(cfg: Config) -> list:
    """The detector's test pipeline.

    Raises:
        ValueError: If the config has no data set to test on.
    """
    for key in ('test_dataloader', 'val_dataloader'):
        if cfg.get(key):
            return innermost_dataset(cfg[key].dataset)['pipeline']
    raise ValueError(
        'the config has neither test_dataloader nor val_dataloader: a scorer '
        "needs a test pipeline to read the pool's images.")


def classes_of(dataset: dict,
               where: str = 'train_dataloader.dataset') -> tuple[str, ...]:
    """The class names of a data set config.

    Args:
        dataset (dict): The config.
        where (str): The key that holds it, for the message.

    Raises:
        FileNotFoundError, ValueError: If the data set is not in COCO format,
            or mmdet would read other classes than its config seems to say.
    """
    from mmdet.datasets import CocoDataset
    try:
        kind = DATASETS.get(dataset['type'])
    except RuntimeError:  # it is not registered
        kind = None
    if not (inspect.isclass(kind) and issubclass(kind, CocoDataset)):
        raise ValueError(
            f'{where}.type is {short(dataset["type"])}, but images are read '
            'from a COCO json: use CocoDataset (tools/dataset/voc2coco.py '
            'converts PASCAL VOC).')
    metainfo = dataset.get('metainfo') or {}
    for key, values, name in (('metainfo.CLASSES', metainfo, 'CLASSES'),
                              ('classes', dataset, 'classes')):
        if name in values:
            raise ValueError(
                f"{where}.{key} is a key of mmdet 2, which mmdet 3 does not "
                f'read: write metainfo=dict(classes={short(values[name])}).')
    if 'classes' not in metainfo:
        return tuple(kind.METAINFO['classes'])
    classes, key = metainfo['classes'], f'{where}.metainfo.classes'
    if isinstance(classes, str):
        # mmengine reads a text as the path of a file, a class a line
        try:
            classes = list_from_file(classes)
        except (OSError, TypeError):
            raise ValueError(
                f"{key} is the text {short(classes)}, and there is no file of "
                'this name with a class a line. For one class write a tuple, '
                f'with its comma: classes=({short(classes)}, ).') from None
    if not isinstance(classes, (list, tuple)) or not classes or not all(
            isinstance(c, str) and c.strip() for c in classes):
        raise ValueError(
            f"{key} is {short(classes)}: give a tuple of names, e.g. "
            "classes=('cat', 'dog'), or a file with a name a line and no "
            'empty line.')
    twice = sorted({c for c in classes if classes.count(c) > 1})
    if twice:
        raise ValueError(f'{key} has {short(twice)} more than once.')
    return tuple(classes)
