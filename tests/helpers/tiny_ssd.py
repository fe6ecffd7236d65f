"""SSDs small enough for unit tests on one core."""
from __future__ import annotations

import torch
from torch import nn

from helpers.tiny import build_detector, tiny_fcos_config


def tiny_ssd_config(num_classes: int = 3,
                    type: str = 'mmal.SSDHead',
                    neck: str = 'SSDNeck',
                    **head) -> dict:
    """Config of an SSD with about 70,000 weights and strides 8, 16 and 32.

    The backbone is that of :func:`helpers.tiny.tiny_fcos_config`.

    Args:
        num_classes (int): Number of classes. Defaults to 3.
        type (str): Type of the head. Defaults to 'mmal.SSDHead'.
        neck (str): Type of the neck. Defaults to 'SSDNeck'.
        **head: More keys of the head.

    Returns:
        dict: To be built with mmdet's ``MODELS``.
    """
    config = tiny_fcos_config(num_classes)
    config.update(
        type='SingleStageDetector',
        neck=dict(
            type=neck,
            in_channels=(16, 32),
            out_channels=(16, 32, 32),
            level_strides=(2, ),
            level_paddings=(1, ),
            l2_norm_scale=20),
        bbox_head=dict(
            type=type,
            num_classes=num_classes,
            in_channels=(16, 32, 32),
            anchor_generator=dict(
                type='SSDAnchorGenerator',
                scale_major=False,
                strides=[8, 16, 32],
                min_sizes=[12, 20, 40],
                max_sizes=[20, 40, 80],
                ratios=[[2], [2], [2]]),
            bbox_coder=dict(
                type='DeltaXYWHBBoxCoder',
                target_means=[0.0] * 4,
                target_stds=[0.1, 0.1, 0.2, 0.2]),
            **head),
        train_cfg=dict(
            assigner=dict(
                type='MaxIoUAssigner',
                pos_iou_thr=0.5,
                neg_iou_thr=0.5,
                min_pos_iou=0.0,
                ignore_iof_thr=-1,
                gt_max_assign_all=False),
            sampler=dict(type='PseudoSampler'),
            smoothl1_beta=1.0,
            allowed_border=-1,
            pos_weight=-1,
            neg_pos_ratio=3,
            debug=False),
        test_cfg=dict(
            nms_pre=100,
            min_bbox_size=0,
            score_thr=0.05,
            nms=dict(type='nms', iou_threshold=0.45),
            max_per_img=20))
    return config


def tiny_ssd(num_classes: int = 3, seed: int = 0, **head) -> nn.Module:
    """An untrained SSD in eval mode that nevertheless detects something.

    Args:
        num_classes (int): Number of classes. Defaults to 3.
        seed (int): Seed of the weights. Defaults to 0.
        **head: See :func:`tiny_ssd_config`.

    Returns:
        nn.Module: The detector, on the CPU.
    """
    model = build_detector(tiny_ssd_config(num_classes, **head), seed, _widen)
    return model.eval()


def tiny_mdn_ssd(num_classes: int = 3,
                 components: int = 2,
                 seed: int = 0,
                 **head) -> nn.Module:
    """:func:`tiny_ssd` with mixtures of ``components`` for boxes and classes.

    Args:
        num_classes (int): Number of classes. Defaults to 3.
        components (int): K of both. Defaults to 2.
        seed (int): Seed of the weights. Defaults to 0.
        **head: More keys of ``mmal.MDNSSDHead``.

    Returns:
        nn.Module: The detector, on the CPU.
    """
    mixtures = dict(cls_components=components, box_components=components)
    return tiny_ssd(
        num_classes, seed, type='mmal.MDNSSDHead', **{**mixtures, **head})


@torch.no_grad()
def _widen(model: nn.Module) -> None:
    """Scores and uncertainties that differ between anchors."""
    for conv in model.bbox_head.modules():
        if isinstance(conv, nn.Conv2d):
            conv.weight.normal_(std=0.03)
            conv.bias.normal_(std=0.3)
