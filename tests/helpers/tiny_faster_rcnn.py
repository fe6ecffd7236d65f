"""Faster R-CNNs small enough for unit tests on one core."""
from __future__ import annotations

import torch
from torch import nn

from helpers.tiny import STRIDES, build_detector, tiny_fcos_config


def tiny_faster_rcnn_config(num_classes: int = 3,
                            type: str = 'Shared2FCBBoxHead',
                            **head) -> dict:
    """Config of a Faster R-CNN with FPN, about 70,000 weights.

    Backbone and FPN are those of :func:`helpers.tiny.tiny_fcos_config`.

    Args:
        num_classes (int): Number of classes. Defaults to 3.
        type (str): Type of the box head. Defaults to 'Shared2FCBBoxHead'.
        **head: More keys of the box head.

    Returns:
        dict: To be built with mmdet's ``MODELS``.
    """
    config = tiny_fcos_config(num_classes)
    config.pop('bbox_head')
    channels = config['neck']['out_channels']
    config.update(
        type='FasterRCNN',
        rpn_head=_rpn_head(channels),
        roi_head=dict(
            type='StandardRoIHead',
            bbox_roi_extractor=dict(
                type='SingleRoIExtractor',
                roi_layer=dict(
                    type='RoIAlign', output_size=5, sampling_ratio=2),
                out_channels=channels,
                featmap_strides=list(STRIDES)),
            bbox_head=dict(
                type=type,
                in_channels=channels,
                fc_out_channels=32,
                roi_feat_size=5,
                num_classes=num_classes,
                **head)),
        train_cfg=_train_cfg(),
        test_cfg=dict(
            rpn=_proposals(30),
            rcnn=dict(
                score_thr=0.05,
                nms=dict(type='nms', iou_threshold=0.5),
                max_per_img=20)))
    return config


def _rpn_head(channels: int) -> dict:
    return dict(
        type='RPNHead',
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(
            type='AnchorGenerator',
            scales=[2],
            ratios=[0.5, 1.0, 2.0],
            strides=list(STRIDES)),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
        loss_bbox=dict(type='L1Loss'))


def _train_cfg() -> dict:
    return dict(
        rpn=_matching(64, 0.5, positive=0.7, negative=0.3),
        rpn_proposal=_proposals(30),
        rcnn=_matching(32, 0.25, positive=0.5, negative=0.5))


def _matching(number: int, fraction: float, positive: float,
              negative: float) -> dict:
    first = positive > negative
    return dict(
        assigner=dict(
            type='MaxIoUAssigner',
            pos_iou_thr=positive,
            neg_iou_thr=negative,
            min_pos_iou=negative,
            match_low_quality=first,
            ignore_iof_thr=-1),
        sampler=dict(
            type='RandomSampler',
            num=number,
            pos_fraction=fraction,
            neg_pos_ub=-1,
            add_gt_as_proposals=not first),
        allowed_border=-1,
        pos_weight=-1,
        debug=False)


def _proposals(number: int) -> dict:
    return dict(
        nms_pre=100,
        max_per_img=number,
        nms=dict(type='nms', iou_threshold=0.7),
        min_bbox_size=0)


def tiny_faster_rcnn(num_classes: int = 3, seed: int = 0,
                     **head) -> nn.Module:
    """An untrained Faster R-CNN in eval mode that detects something.

    Args:
        num_classes (int): Number of classes. Defaults to 3.
        seed (int): Seed of the weights. Defaults to 0.
        **head: See :func:`tiny_faster_rcnn_config`.

    Returns:
        nn.Module: The detector, on the CPU.
    """
    config = tiny_faster_rcnn_config(num_classes, **head)
    return build_detector(config, seed, _widen).eval()


def tiny_mdn_faster_rcnn(num_classes: int = 3,
                         components: int = 2,
                         seed: int = 0,
                         **head) -> nn.Module:
    """:func:`tiny_faster_rcnn` with mixtures for boxes and classes.

    Args:
        num_classes (int): Number of classes. Defaults to 3.
        components (int): K of both. Defaults to 2.
        seed (int): Seed of the weights. Defaults to 0.
        **head: More keys of ``mmal.MDNShared2FCBBoxHead``.

    Returns:
        nn.Module: The detector, on the CPU.
    """
    mixtures = dict(cls_components=components, box_components=components)
    return tiny_faster_rcnn(
        num_classes,
        seed,
        type='mmal.MDNShared2FCBBoxHead',
        **{**mixtures, **head})


@torch.no_grad()
def _widen(model: nn.Module) -> None:
    """Scores and uncertainties that differ between proposals."""
    head = model.roi_head.bbox_head
    for layer in (head.fc_cls, head.fc_reg):
        layer.weight.normal_(std=0.3)
        layer.bias.normal_(std=0.3)
