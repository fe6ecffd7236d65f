"""Every detector and head that the package knows, small, by a name."""
from functools import partial

import torch

from helpers.tiny import (
    _widen,
    build_detector,
    tiny_fcos,
    tiny_fcos_config,
)
from helpers.tiny_detr import TRANSFORMERS, tiny_detr
from helpers.tiny_evidential import tiny_evidential
from helpers.tiny_faster_rcnn import tiny_faster_rcnn, tiny_mdn_faster_rcnn
from helpers.tiny_mdn_fcos import (
    _change,
    tiny_mdn_fcos,
    tiny_mdn_fcos_config,
)
from helpers.tiny_mdn_heads import TYPES, tiny_mdn_head
from helpers.tiny_one_stage import HEADS, tiny_one_stage
from helpers.tiny_ssd import tiny_mdn_ssd, tiny_ssd


def _fcos(change, **head):
    config = tiny_mdn_fcos_config(**head)
    return build_detector(config, change=change).eval()


def _bayesian(build, **head):
    """With a branch whose outputs differ between positions.

    λ is small: mmcv's focal loss of GPUs jumps to 87 for wrong logits above
    17, which draws of such weights would reach, and the one of CPUs does not.
    """
    model = build(branch=dict(scale=0.1), **head)
    generator = torch.Generator().manual_seed(0)
    for module in model.bbox_head.branch.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.data.normal_(std=.3, generator=generator)
            module.bias.data.zero_()
    return model


def _plain_fcos(**keys):
    config = tiny_fcos_config()
    config.update(keys)
    return build_detector(config, change=lambda m: _widen(m.bbox_head)).eval()


def _dropout_fcos():
    neck = dict(tiny_fcos_config()['neck'], type='mmal.DropoutFPN')
    return _plain_fcos(neck=neck)


def _cached_fcos():
    backbone = dict(tiny_fcos_config()['backbone'], type='mmdet.ResNet')
    return _plain_fcos(backbone=dict(
        type='mmal.CachedBackbone', backbone=backbone))


# With per-image losses: what ISAL knows.
ISAL_DETECTORS = dict(
    {head: partial(tiny_one_stage, head) for head in HEADS},
    **{kind: partial(tiny_detr, kind) for kind in TRANSFORMERS},
    ssd=tiny_ssd,
    mdn_ssd=tiny_mdn_ssd,
    mdn_ssd_efficient=partial(
        tiny_mdn_ssd, cls_variance=False, weighting=dict()),
    mdn_fcos=tiny_mdn_fcos,
    mdn_fcos_plain_classes=partial(tiny_mdn_fcos, cls_components=0),
    **{f'mdn_{head}': partial(tiny_mdn_head, head) for head in TYPES},
    gaussian_fcos=partial(_fcos, _change, type='mmal.GaussianFCOSHead'),
    # mmdet's own loss takes no outputs of eval mode with norm_on_bbox
    bayes_fcos=partial(
        _bayesian, partial(_fcos, lambda m: _widen(m.bbox_head)),
        type='mmal.BayesFCOSHead', norm_on_bbox=False),
    bayes_retina=partial(
        _bayesian, partial(tiny_one_stage, 'retina'),
        type='mmal.BayesRetinaHead'),
    evidential_retina=tiny_evidential,
    bayes_yolov3=partial(
        _bayesian, partial(tiny_one_stage, 'yolov3'),
        type='mmal.BayesYOLOV3Head'),
    faster_rcnn=tiny_faster_rcnn,
    mdn_faster_rcnn=tiny_mdn_faster_rcnn)
DETECTORS = dict(
    ISAL_DETECTORS,
    fcos=tiny_fcos,
    cached_fcos=_cached_fcos,
    retina_anchor_loss=partial(
        tiny_one_stage, 'retina',
        loss_cls=dict(type='mmal.AnchorLoss', use_sigmoid=True)),
    learning_loss_fcos=partial(
        _plain_fcos, type='mmal.LearningLossDetector', loss_head=dict()))
# In training mode they draw masks.
DROPOUT_DETECTORS = dict(
    dropout_ssd=partial(tiny_ssd, neck='mmal.DropoutSSDNeck'),
    dropout_fcos=_dropout_fcos)
