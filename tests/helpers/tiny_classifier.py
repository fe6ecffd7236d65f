"""A classifier and a pool of images small enough for unit tests."""
import os.path as osp

import numpy as np
from mmengine.config import Config
from torch import nn

from helpers.tiny import build_detector
from mmal.datasets import ImageLabels, write_image_labels

CLASSES = ('red', 'green', 'blue')


def tiny_classifier_config(**head) -> dict:
    """Config of a ResNet-18 of three stages, 4 channels wide at first.

    Args:
        **head: Of the head, in place of a ``mmal.LinearClsHead``'s.
    """
    return dict(
        type='mmal.ImageClassifier',
        input_size=16,
        data_preprocessor=dict(
            type='mmdet.DetDataPreprocessor',
            mean=[127.0] * 3,
            std=[64.0] * 3,
            bgr_to_rgb=True),
        backbone=dict(
            type='mmal.SmallImageResNet',
            depth=18,
            num_stages=3,
            base_channels=4,
            strides=(1, 2, 2),
            dilations=(1, 1, 1),
            out_indices=(0, 1, 2)),
        cls_head={
            'type': 'mmal.LinearClsHead',
            'num_classes': len(CLASSES),
            'in_channels': 16,
            **head
        })


def tiny_classifier(seed: int = 0, **head) -> nn.Module:
    """An untrained classifier in eval mode, of three classes.

    Args:
        seed (int): Seed of the weights.
        **head: See :func:`tiny_classifier_config`.
    """

    def widen(model):
        nn.init.normal_(model.cls_head.fc.weight)

    return build_detector(tiny_classifier_config(**head), seed, widen).eval()


def tiny_image_labels(root: str, pool: int = 12, val: int = 6) -> None:
    """Write ``pool.json`` and ``val.json``: 16 x 16 images of one colour,
    with noise.

    Args:
        root (str): An existing folder.
        pool, val (int): Images of the splits.
    """
    rng = np.random.default_rng(0)
    for name, number, first in (('pool', pool, 1), ('val', val, 1001)):
        labels = np.arange(number) % len(CLASSES)
        images = rng.integers(0, 120, (number, 16, 16, 3), np.uint8)
        images[np.arange(number), :, :, labels] += 100
        write_image_labels(root, name, ImageLabels(images, labels, first),
                           CLASSES)


def tiny_classification(root: str, **head) -> Config:
    """A config without ``active_learning``; the images are made.

    Args:
        root (str): An existing folder for the images.
        **head: See :func:`tiny_classifier_config`.
    """
    tiny_image_labels(root)
    load = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True)
    ]
    train = [*load, dict(type='mmal.PaddedCrop', padding=1),
             dict(type='PackDetInputs')]
    test = [*load, dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape'))]
    return Config(
        dict(
            default_scope='mmdet',
            custom_imports=dict(imports=['mmal']),
            model=tiny_classifier_config(**head),
            train_dataloader=_loader(root, 'pool.json', train, True),
            val_dataloader=_loader(root, 'val.json', test, False),
            test_dataloader=_loader(root, 'val.json', test, False),
            val_evaluator=dict(type='mmal.AccuracyMetric'),
            test_evaluator=dict(type='mmal.AccuracyMetric'),
            train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=2,
                           val_interval=2),
            val_cfg=dict(type='ValLoop'),
            test_cfg=dict(type='TestLoop'),
            optim_wrapper=dict(
                type='OptimWrapper',
                optimizer=dict(type='AdamW', lr=5e-3)),
            default_hooks=dict(
                logger=dict(type='LoggerHook', interval=1000),
                checkpoint=dict(type='CheckpointHook', interval=1)),
            log_level='WARNING'))


def _loader(root: str, ann_file: str, pipeline: list, shuffle: bool) -> dict:
    return dict(
        batch_size=4,
        num_workers=0,
        persistent_workers=False,
        sampler=dict(type='DefaultSampler', shuffle=shuffle),
        dataset=dict(
            type='CocoDataset',
            data_root=osp.join(root, ''),
            metainfo=dict(classes=CLASSES),
            ann_file=ann_file,
            data_prefix=dict(img='images/'),
            pipeline=pipeline))
