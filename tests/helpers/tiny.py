"""A detector and a data set small enough for unit tests on one core."""
import os.path as osp
from typing import Callable, Optional, Sequence

import cv2
import numpy as np
import torch
from mmengine.config import Config, ConfigDict

from mmal.fileio import write_bytes, write_json

COLOURS = ((220, 60, 60), (60, 200, 80), (70, 90, 230), (220, 210, 70),
           (200, 80, 210), (80, 210, 210))
STRIDES = (8, 16)


def tiny_fcos_config(num_classes: int = 3,
                     channels: int = 16,
                     towers: int = 1) -> dict:
    """Config of an FCOS with about 50,000 weights and strides 8 and 16.

    The backbone is a narrow ResNet-18 (batch norm) trained from scratch, the
    towers use group norm.

    Args:
        num_classes (int): Number of classes. Defaults to 3.
        channels (int): Width of the FPN and of the towers, a multiple of 4.
            Defaults to 16.
        towers (int): Convolutions in each tower. Defaults to 1.

    Returns:
        dict: To be built with mmdet's ``MODELS``.
    """
    return dict(
        type='FCOS',
        data_preprocessor=dict(
            type='DetDataPreprocessor',
            mean=[127.0] * 3,
            std=[64.0] * 3,
            bgr_to_rgb=True,
            pad_size_divisor=STRIDES[-1]),
        backbone=dict(
            type='ResNet',
            depth=18,
            num_stages=3,
            base_channels=8,
            stem_channels=8,
            strides=(1, 2, 2),
            dilations=(1, 1, 1),
            out_indices=(1, 2)),
        neck=dict(
            type='FPN',
            in_channels=[16, 32],
            out_channels=channels,
            num_outs=len(STRIDES)),
        bbox_head=_tiny_head(num_classes, channels, towers),
        test_cfg=dict(
            nms_pre=100,
            min_bbox_size=0,
            score_thr=0.05,
            nms=dict(type='nms', iou_threshold=0.5),
            max_per_img=20))


def _tiny_head(num_classes: int, channels: int, towers: int) -> dict:
    return dict(
        type='FCOSHead',
        num_classes=num_classes,
        in_channels=channels,
        feat_channels=channels,
        stacked_convs=towers,
        strides=STRIDES,
        regress_ranges=((-1, 32), (32, 1e8)),
        norm_on_bbox=True,
        centerness_on_reg=True,
        center_sampling=True,
        norm_cfg=dict(type='GN', num_groups=4, requires_grad=True),
        loss_cls=dict(
            type='FocalLoss',
            use_sigmoid=True,
            gamma=2.0,
            alpha=0.25,
            loss_weight=1.0),
        loss_bbox=dict(type='GIoULoss', loss_weight=1.0),
        loss_centerness=dict(
            type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0))


def tiny_fcos(num_classes: int = 3,
              channels: int = 16,
              towers: int = 1,
              seed: int = 0) -> torch.nn.Module:
    """An untrained FCOS in eval mode that nevertheless detects something.

    Its output layers are drawn wide enough that images give a few detections
    with scores between 0.05 and 0.9, as a trained detector would.

    Args:
        num_classes (int): Number of classes. Defaults to 3.
        channels (int): Width of the FPN and of the towers. Defaults to 16.
        towers (int): Convolutions in each tower. Defaults to 1.
        seed (int): Seed of the weights; the global generator is left as it
            was. Defaults to 0.

    Returns:
        nn.Module: The detector, on the CPU.
    """
    cfg = tiny_fcos_config(num_classes, channels, towers)
    return build_detector(cfg, seed, lambda m: _widen(m.bbox_head)).eval()


def build_detector(cfg: dict, seed: int = 0,
                   change: Optional[Callable] = None) -> torch.nn.Module:
    """Build a detector with weights that depend on the seed alone.

    Args:
        cfg (dict): Config of an mmdet detector.
        seed (int): Seed of the weights; the global generator is left as it
            was. Defaults to 0.
        change (callable, optional): Called with the detector to change its
            weights, under the same seed.

    Returns:
        nn.Module: The detector in training mode, on the CPU.
    """
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    register_all_modules(init_default_scope=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MODELS.build(ConfigDict(cfg, _scope_='mmdet'))
        model.init_weights()
        if change is not None:
            change(model)
    return model


@torch.no_grad()
def _widen(head: torch.nn.Module) -> None:
    for layer, std, bias in ((head.conv_cls, 0.12, -2.0),
                             (head.conv_reg, 0.05, 1.0),
                             (head.conv_centerness, 0.1, 1.0)):
        layer.weight.normal_(std=std)
        layer.bias.fill_(bias)


def tiny_coco(root: str,
              images: int = 12,
              size: Sequence[int] = (64, 96),
              classes: int = 3,
              seed: int = 0,
              val: int = 6) -> str:
    """Write a little COCO data set of coloured rectangles.

    A class is a colour. Image ids are neither consecutive nor in the order of
    the names, so that a mix-up of ids and indices shows; the last pool image
    has no box.

    Args:
        root (str): Folder for ``pool.json``, ``val.json`` and ``images/``.
        images (int): Number of pool images. Defaults to 12.
        size (Sequence[int]): Shortest and longest side in pixels; heights and
            widths differ between images. Defaults to (64, 96).
        classes (int): Number of classes, at most 6. Defaults to 3.
        seed (int): Same seed, same files. Defaults to 0.
        val (int): Number of validation images. Defaults to 6.

    Returns:
        str: ``root``.
    """
    if not 1 <= classes <= len(COLOURS):
        raise ValueError(
            f'tiny_coco: classes is {classes}; give 1 to {len(COLOURS)}')
    rng = np.random.default_rng(seed)
    for split, number, first in (('pool', images, 1000), ('val', val, 9000)):
        _write_split(root, split, number, first, size, classes, rng)
    return root


def _write_split(root: str, split: str, number: int, first: int,
                 size: Sequence[int], classes: int,
                 rng: np.random.Generator) -> None:
    records, annotations = [], []
    for i in range(number):
        image_id = first + 7 * (number - i)
        empty = split == 'pool' and i == number - 1
        picture, boxes, labels = _picture(size, classes, rng, empty)
        name = f'{split}_{i:03d}.png'
        write_bytes(osp.join(root, 'images', name),
                    cv2.imencode('.png', picture[..., ::-1])[1].tobytes())
        height, width = picture.shape[:2]
        records.append(
            dict(id=image_id, file_name=name, height=height, width=width))
        for box, label in zip(boxes, labels):
            annotations.append(
                dict(
                    id=first + len(annotations),
                    image_id=image_id,
                    category_id=label + 1,
                    bbox=box,
                    area=box[2] * box[3],
                    iscrowd=0))
    write_json(
        osp.join(root, f'{split}.json'),
        dict(
            images=records,
            annotations=annotations,
            categories=[
                dict(id=c + 1, name=f'class_{c}') for c in range(classes)
            ]))


def _picture(size: Sequence[int], classes: int, rng: np.random.Generator,
             empty: bool) -> tuple:
    height, width = (int(rng.choice(_sides(*size))) for _ in range(2))
    picture = rng.integers(90, 140, (height, width, 3)).astype(np.uint8)
    boxes, labels = [], []
    for column in range(0 if empty else int(rng.integers(1, 3))):
        w, h = (int(v) for v in rng.integers(14, 28, 2))
        x = column * width // 2 + int(rng.integers(0, width // 2 - w + 1))
        y = int(rng.integers(0, height - h + 1))
        label = int(rng.integers(classes))
        picture[y:y + h, x:x + w] = COLOURS[label]
        boxes.append([x, y, w, h])
        labels.append(label)
    return picture, boxes, labels


def _sides(shortest: int, longest: int) -> list:
    if shortest < 64 or longest < shortest:
        raise ValueError(f'tiny_coco: size is ({shortest}, {longest}); give '
                         'the shortest side, at least 64, then the longest')
    return list(range(shortest, longest + 1, 16))


def tiny_config(root: str, epochs: int = 1, classes: int = 3) -> Config:
    """A complete mmdet config that trains in seconds.

    Writes :func:`tiny_coco` to ``root`` if there is no ``pool.json`` yet.

    Args:
        root (str): Folder of the data set.
        epochs (int): Training epochs, each followed by a validation and a
            checkpoint. Defaults to 1.
        classes (int): Number of classes. Defaults to 3.

    Returns:
        Config: Trains :func:`tiny_fcos_config` on ``pool.json`` and evaluates
        on ``val.json``; the work folder is left to be set.
    """
    if not osp.exists(osp.join(root, 'pool.json')):
        tiny_coco(root, classes=classes)
    load = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(96, 96), keep_ratio=True),
        dict(type='LoadAnnotations', with_bbox=True)
    ]
    meta = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
    train = [
        *load,
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackDetInputs')
    ]
    test = [*load, dict(type='PackDetInputs', meta_keys=meta)]
    val_loader = _loader(root, 'val.json', test, classes, training=False)
    evaluator = dict(
        type='CocoMetric',
        ann_file=osp.join(root, 'val.json'),
        metric='bbox',
        format_only=False)
    return Config(
        dict(
            default_scope='mmdet',
            custom_imports=dict(imports=['mmal'], allow_failed_imports=False),
            model=tiny_fcos_config(classes),
            train_dataloader=_loader(
                root, 'pool.json', train, classes, training=True),
            val_dataloader=val_loader,
            test_dataloader=val_loader,
            val_evaluator=evaluator,
            test_evaluator=evaluator,
            train_cfg=dict(
                type='EpochBasedTrainLoop', max_epochs=epochs, val_interval=1),
            val_cfg=dict(type='ValLoop'),
            test_cfg=dict(type='TestLoop'),
            optim_wrapper=dict(
                type='OptimWrapper', optimizer=dict(type='AdamW', lr=2e-3)),
            param_scheduler=[],
            default_hooks=_default_hooks(),
            env_cfg=dict(
                cudnn_benchmark=False,
                mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
                dist_cfg=dict(backend='gloo')),
            vis_backends=[dict(type='LocalVisBackend')],
            visualizer=dict(
                type='DetLocalVisualizer',
                vis_backends=[dict(type='LocalVisBackend')],
                name='visualizer'),
            log_processor=dict(type='LogProcessor', window_size=50),
            log_level='WARNING',
            load_from=None,
            resume=False,
            randomness=dict(seed=0)))


def tiny_active_learning(**block) -> dict:
    """``active_learning`` of a run on such data: two rounds, 4 + 3 images,
    drawn at random.

    Args:
        **block: Further keys, or others in place of these.

    Returns:
        dict: For ``cfg.active_learning``.
    """
    return dict(
        dict(
            data=dict(ann_file='pool.json'),
            initial=dict(size=4),
            rounds=2,
            budget=dict(size=3, unit='images'),
            scorer=dict(type='mmal.RandomScorer'),
            score_dataloader=dict(batch_size=2, num_workers=0)), **block)


def _loader(root: str, ann_file: str, pipeline: list, classes: int,
            training: bool) -> dict:
    names = tuple(f'class_{c}' for c in range(classes))
    dataset = dict(
        type='CocoDataset',
        data_root=root,
        metainfo=dict(classes=names),
        ann_file=ann_file,
        data_prefix=dict(img='images/'),
        pipeline=pipeline,
        test_mode=not training)
    if training:
        dataset['filter_cfg'] = dict(filter_empty_gt=False)
    return dict(
        batch_size=4 if training else 1,
        num_workers=0,
        persistent_workers=False,
        sampler=dict(type='DefaultSampler', shuffle=training),
        dataset=dataset)


def _default_hooks() -> dict:
    return dict(
        timer=dict(type='IterTimerHook'),
        logger=dict(type='LoggerHook', interval=50),
        param_scheduler=dict(type='ParamSchedulerHook'),
        checkpoint=dict(type='CheckpointHook', interval=1),
        sampler_seed=dict(type='DistSamplerSeedHook'))
