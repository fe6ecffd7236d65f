"""A one-stage detector of each kind, small enough for unit tests."""
from __future__ import annotations

import torch
from torch import nn

from helpers.tiny import STRIDES, build_detector, tiny_fcos_config

CHANNELS = 16
_PLAIN = dict(
    in_channels=CHANNELS, feat_channels=CHANNELS, stacked_convs=1)
_ANCHORS = dict(
    type='AnchorGenerator',
    octave_base_scale=2,
    scales_per_octave=2,
    ratios=[0.5, 1.0],
    strides=list(STRIDES))
_ONE_ANCHOR = dict(
    type='AnchorGenerator',
    octave_base_scale=3,
    scales_per_octave=1,
    ratios=[1.0],
    strides=list(STRIDES))
_GROUP_NORM = dict(type='GN', num_groups=4)
# Without the best anchors of each box: all that lie within a large box have
# the same IoU with it, and rounding, which differs from machine to machine,
# decides which of them is the best.
_MATCHING = dict(
    assigner=dict(
        type='MaxIoUAssigner',
        pos_iou_thr=0.5,
        neg_iou_thr=0.4,
        match_low_quality=False,
        ignore_iof_thr=-1),
    sampler=dict(type='PseudoSampler'),
    allowed_border=-1,
    pos_weight=-1,
    debug=False)
_ATSS_MATCHING = dict(
    assigner=dict(type='ATSSAssigner', topk=9),
    allowed_border=-1,
    pos_weight=-1,
    debug=False)
_YOLO_ANCHORS = dict(
    type='YOLOAnchorGenerator',
    strides=list(STRIDES),
    base_sizes=[[(12, 16), (24, 18)], [(30, 40), (50, 30)]])
_YOLO_MATCHING = dict(
    assigner=dict(
        type='GridAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0))

HEADS = dict(
    retina=(dict(
        _PLAIN, type='RetinaHead', anchor_generator=_ANCHORS), _MATCHING),
    retina_softmax=(dict(
        _PLAIN,
        type='RetinaHead',
        anchor_generator=_ANCHORS,
        loss_cls=dict(type='CrossEntropyLoss')), _MATCHING),
    atss=(dict(
        _PLAIN,
        type='ATSSHead',
        anchor_generator=_ONE_ANCHOR,
        norm_cfg=_GROUP_NORM,
        reg_decoded_bbox=True,
        loss_bbox=dict(type='GIoULoss')), _ATSS_MATCHING),
    gfl=(dict(
        _PLAIN,
        type='GFLHead',
        anchor_generator=_ONE_ANCHOR,
        norm_cfg=_GROUP_NORM,
        loss_cls=dict(type='QualityFocalLoss'),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.0)), _ATSS_MATCHING),
    yolov3=(dict(
        type='YOLOV3Head',
        in_channels=(CHANNELS, CHANNELS),
        out_channels=(CHANNELS, CHANNELS),
        featmap_strides=STRIDES,
        anchor_generator=_YOLO_ANCHORS), _YOLO_MATCHING),
    yolox=(dict(_PLAIN, type='YOLOXHead', strides=STRIDES),
           dict(assigner=dict(type='SimOTAAssigner', center_radius=2.5))))


def tiny_one_stage(head: str,
                   num_classes: int = 3,
                   seed: int = 0,
                   **kwargs) -> nn.Module:
    """An untrained detector in eval mode that nevertheless detects something.

    Backbone and FPN are those of :func:`helpers.tiny.tiny_fcos_config`.

    Args:
        head (str): One of :data:`HEADS`.
        num_classes (int): Number of classes. Defaults to 3.
        seed (int): Seed of the weights. Defaults to 0.
        **kwargs: More keys of the head.

    Returns:
        nn.Module: The detector, on the CPU.
    """
    config = tiny_fcos_config(num_classes, CHANNELS)
    bbox_head, train_cfg = HEADS[head]
    config.update(
        type='SingleStageDetector',
        bbox_head=dict(bbox_head, num_classes=num_classes, **kwargs),
        train_cfg=train_cfg)
    return build_detector(config, seed, _widen).eval()


@torch.no_grad()
def _widen(model: nn.Module) -> None:
    """Scores and boxes that differ between positions."""
    from mmal.models.utils import last_layers
    for name in last_layers(model):
        layer = model.get_submodule(name)
        layer.weight.normal_(std=0.1)
        layer.bias.normal_(std=0.3)
