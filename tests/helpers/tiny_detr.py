"""Detection transformers small enough for unit tests on one core."""
from __future__ import annotations

import torch
from torch import nn

from helpers.tiny import build_detector, tiny_fcos_config

QUERIES = 10
LAYERS = 2


def _ffn(channels: int, **kwargs) -> dict:
    return dict(
        embed_dims=channels, feedforward_channels=2 * channels, **kwargs)


def _attention(channels: int, **kwargs) -> dict:
    return dict(embed_dims=channels, num_heads=2, **kwargs)


def _coder(layers: int, **layer_cfg) -> dict:
    return dict(num_layers=layers, layer_cfg=layer_cfg)


def _head(type: str) -> dict:
    focal = dict(
        type='FocalLoss',
        use_sigmoid=True,
        gamma=2.0,
        alpha=0.25,
        loss_weight=2.0)
    return dict(type=type, loss_cls=focal)


def _detr(channels: int) -> dict:
    attention = _attention(channels, batch_first=True)
    ffn = _ffn(channels)
    softmax = dict(
        type='CrossEntropyLoss', bg_cls_weight=0.1, class_weight=1.0)
    return dict(
        type='DETR',
        encoder=_coder(1, self_attn_cfg=attention, ffn_cfg=ffn),
        decoder=dict(
            _coder(
                LAYERS,
                self_attn_cfg=attention,
                cross_attn_cfg=attention,
                ffn_cfg=ffn),
            return_intermediate=True),
        bbox_head=dict(type='DETRHead', loss_cls=softmax))


def _conditional_detr(channels: int) -> dict:
    config = _detr(channels)
    config['decoder']['layer_cfg'].update(
        self_attn_cfg=_attention(channels, cross_attn=False),
        cross_attn_cfg=_attention(channels, cross_attn=True))
    config.update(
        type='ConditionalDETR', bbox_head=_head('ConditionalDETRHead'))
    return config


def _dab_detr(channels: int) -> dict:
    config = _conditional_detr(channels)
    for coder in ('encoder', 'decoder'):
        config[coder]['layer_cfg'].update(
            ffn_cfg=_ffn(channels, act_cfg=dict(type='PReLU')))
    config['decoder'].update(
        query_dim=4,
        query_scale_type='cond_elewise',
        with_modulated_hw_attn=True)
    config.update(type='DABDETR', bbox_head=_head('DABDETRHead'))
    return config


def _deformable_detr(channels: int, **kwargs) -> dict:
    config = _detr(channels)
    sampled = _attention(
        channels, batch_first=True, num_levels=2, num_points=2)
    config['encoder']['layer_cfg'].update(self_attn_cfg=sampled)
    config['decoder']['layer_cfg'].update(cross_attn_cfg=sampled)
    config['decoder'].update(post_norm_cfg=None)
    config.update(
        type='DeformableDETR',
        num_feature_levels=2,
        bbox_head=_head('DeformableDETRHead'))
    return dict(config, **kwargs)


def _dino(channels: int) -> dict:
    groups = dict(dynamic=True, num_groups=None, num_dn_queries=8)
    return _deformable_detr(
        channels,
        type='DINO',
        with_box_refine=True,
        as_two_stage=True,
        bbox_head=_head('DINOHead'),
        dn_cfg=dict(
            label_noise_scale=0.5, box_noise_scale=1.0, group_cfg=groups))


# some of mmdet's take encoded coordinates of the width 256 alone
TRANSFORMERS = dict(
    detr=_detr(16),
    conditional_detr=_conditional_detr(256),
    dab_detr=_dab_detr(16),
    deformable_detr=_deformable_detr(16),
    deformable_detr_refined=_deformable_detr(16, with_box_refine=True),
    deformable_detr_two_stage=_deformable_detr(
        256, with_box_refine=True, as_two_stage=True),
    dino=_dino(256))


def tiny_detr_config(kind: str = 'detr', num_classes: int = 3) -> dict:
    """Config of a detection transformer with two decoder layers.

    The backbone is that of :func:`helpers.tiny.tiny_fcos_config`.

    Args:
        kind (str): One of :data:`TRANSFORMERS`. Defaults to 'detr'.
        num_classes (int): Number of classes. Defaults to 3.

    Returns:
        dict: To be built with mmdet's ``MODELS``.
    """
    own, config = TRANSFORMERS[kind], tiny_fcos_config()
    channels = own['encoder']['layer_cfg']['ffn_cfg']['embed_dims']
    levels = own.get('num_feature_levels', 1)
    config['backbone'].update(out_indices=(1, 2)[-levels:])
    config.update(
        own,
        num_queries=QUERIES,
        neck=dict(
            type='ChannelMapper',
            in_channels=[16, 32][-levels:],
            kernel_size=1,
            out_channels=channels,
            act_cfg=None,
            num_outs=levels),
        positional_encoding=dict(num_feats=channels // 2, normalize=True),
        bbox_head=dict(
            own['bbox_head'], num_classes=num_classes, embed_dims=channels),
        train_cfg=dict(assigner=_assigner(own['type'] == 'DETR')),
        test_cfg=dict(max_per_img=QUERIES))
    return config


def _assigner(softmax: bool) -> dict:
    scores = 'ClassificationCost' if softmax else 'FocalLossCost'
    return dict(
        type='HungarianAssigner',
        match_costs=[
            dict(type=scores, weight=1.0),
            dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
            dict(type='IoUCost', iou_mode='giou', weight=2.0)
        ])


def tiny_detr(kind: str = 'detr', num_classes: int = 3,
              seed: int = 0) -> nn.Module:
    """An untrained transformer in eval mode that detects something.

    Args:
        kind (str): One of :data:`TRANSFORMERS`. Defaults to 'detr'.
        num_classes (int): Number of classes. Defaults to 3.
        seed (int): Seed of the weights. Defaults to 0.

    Returns:
        nn.Module: The detector, on the CPU.
    """
    config = tiny_detr_config(kind, num_classes)
    return build_detector(config, seed, _widen).eval()


@torch.no_grad()
def _widen(model: nn.Module) -> None:
    """Scores and boxes that differ between queries."""
    from mmal.models.utils import last_layers
    for name, param in model.decoder.named_parameters():
        if 'attn' in name and param.dim() > 1:
            param.mul_(4)
    for name in last_layers(model):
        layer = model.get_submodule(name)
        layer.weight.normal_(std=2 * layer.in_features**-0.5)
        layer.bias.normal_(std=0.3)
