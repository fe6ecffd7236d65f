"""A small RetinaNet with an evidential head, whose anchors differ."""
import torch
from torch import nn

from helpers.tiny_one_stage import tiny_one_stage


def tiny_evidential(**head) -> nn.Module:
    """In eval mode; scores from about 0.1 to 0.9, boxes of several anchors.

    Args:
        **head: Keys of :class:`mmal.models.EvidentialRetinaHead`.
    """
    focal = dict(type='FocalLoss', use_sigmoid=True)
    model = tiny_one_stage('retina', **{
        'type': 'mmal.EvidentialRetinaHead', 'loss_cls': focal, **head})
    generator = torch.Generator().manual_seed(0)
    for name, layer in model.bbox_head.named_modules():
        if isinstance(layer, nn.Conv2d):
            # the towers pass on what they get, boxes stay near their anchors
            std = dict(retina_reg=.02, retina_evidence=.3).get(name, .12)
            nn.init.normal_(layer.weight, std=std, generator=generator)
    return model
