"""Heads of mmdet with mixtures, small enough for unit tests on one core."""
from __future__ import annotations

import torch
from torch import nn

from helpers.tiny import STRIDES, build_detector, tiny_fcos_config
from helpers.tiny_one_stage import CHANNELS, HEADS, _widen

_RTMDET = dict(
    type='RTMDetSepBNHead',
    in_channels=CHANNELS,
    feat_channels=CHANNELS,
    stacked_convs=1,
    anchor_generator=dict(
        type='MlvlPointGenerator', offset=0, strides=list(STRIDES)),
    bbox_coder=dict(type='DistancePointBBoxCoder'),
    loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0),
    loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
    with_objectness=False,
    exp_on_reg=False,
    pred_kernel_size=1)
_RTMDET_MATCHING = dict(
    assigner=dict(type='DynamicSoftLabelAssigner', topk=13),
    allowed_border=-1,
    pos_weight=-1,
    debug=False)

PLAIN = dict(
    {name: HEADS[name] for name in ('retina', 'atss', 'yolox')},
    rtmdet=(_RTMDET, _RTMDET_MATCHING))
TYPES = dict(
    retina='mmal.MDNRetinaHead',
    atss='mmal.MDNATSSHead',
    rtmdet='mmal.MDNRTMDetHead',
    yolox='mmal.MDNYOLOXHead')


def tiny_head_config(name: str, **head) -> dict:
    """Config of a detector with one of mmdet's heads, or one derived from it.

    Args:
        name (str): One of :data:`PLAIN`.
        **head: More keys of the head.

    Returns:
        dict: To be built with mmdet's ``MODELS``.
    """
    bbox_head, train_cfg = PLAIN[name]
    return dict(
        tiny_fcos_config(channels=CHANNELS),
        type='SingleStageDetector',
        bbox_head={**bbox_head, 'num_classes': 3, **head},
        train_cfg=train_cfg)


def tiny_plain(name: str, seed: int = 0, **head) -> nn.Module:
    """An untrained detector of mmdet that nevertheless detects something.

    Args:
        name (str): One of :data:`PLAIN`.
        seed (int): Seed of the weights. Defaults to 0.
        **head: More keys of the head.

    Returns:
        nn.Module: The detector in eval mode, on the CPU.
    """
    return build_detector(tiny_head_config(name, **head), seed,
                          _widen).eval()


def tiny_mdn_head(name: str,
                  components: int = 2,
                  seed: int = 0,
                  **head) -> nn.Module:
    """The same with mixtures whose components differ.

    Args:
        name (str): One of :data:`TYPES`.
        components (int): K of boxes and classes. Defaults to 2.
        seed (int): Seed of the weights. Defaults to 0.
        **head: More keys of the head.

    Returns:
        nn.Module: The detector in eval mode, on the CPU.
    """
    mixtures = dict(cls_components=components, box_components=components)
    return tiny_plain(name, seed, **{
        'type': TYPES[name], **mixtures, **head})


@torch.no_grad()
def with_weights_of(plain: nn.Module, mdn: nn.Module) -> nn.Module:
    """A detector with mixtures that predicts what a plain one does.

    Args:
        plain (nn.Module): From :func:`tiny_plain`.
        mdn (nn.Module): From :func:`tiny_mdn_head`, changed in place.

    Returns:
        nn.Module: ``mdn``, its own layers zero.
    """
    keys = mdn.load_state_dict(plain.state_dict(), strict=False)
    own = {name: p for name, p in mdn.named_parameters() if 'mixture_' in name}
    assert not keys.unexpected_keys and set(keys.missing_keys) == set(own)
    for parameter in own.values():
        parameter.zero_()
    return mdn
