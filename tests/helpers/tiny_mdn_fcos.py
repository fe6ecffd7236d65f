"""FCOS with mixtures, small enough for unit tests on one core."""
from __future__ import annotations

import torch
from torch import nn

from helpers.tiny import _widen, build_detector, tiny_fcos_config


def tiny_mdn_fcos_config(num_classes: int = 3,
                         type: str = 'mmal.MDNFCOSHead',
                         **head) -> dict:
    """:func:`helpers.tiny.tiny_fcos_config` with another head.

    Args:
        num_classes (int): Number of classes. Defaults to 3.
        type (str): Type of the head. Defaults to 'mmal.MDNFCOSHead'.
        **head: More keys of the head.

    Returns:
        dict: To be built with mmdet's ``MODELS``.
    """
    config = tiny_fcos_config(num_classes)
    config['bbox_head'].update(type=type, **head)
    return config


def tiny_mdn_fcos(num_classes: int = 3,
                  components: int = 2,
                  seed: int = 0,
                  **head) -> nn.Module:
    """An untrained FCOS with mixtures that nevertheless detects something.

    Args:
        num_classes (int): Number of classes. Defaults to 3.
        components (int): K of distances and classes. Defaults to 2.
        seed (int): Seed of the weights. Defaults to 0.
        **head: More keys of ``mmal.MDNFCOSHead``.

    Returns:
        nn.Module: The detector in eval mode, on the CPU.
    """
    mixtures = dict(cls_components=components, box_components=components)
    config = tiny_mdn_fcos_config(num_classes, **{**mixtures, **head})
    return build_detector(config, seed, _change).eval()


@torch.no_grad()
def _change(model: nn.Module) -> None:
    head = model.bbox_head
    _widen(head)
    for output in (head.cls_output, head.box_output):
        for name in output.extras:
            conv = getattr(head, name)
            conv.weight.normal_(std=0.05)
            conv.bias.normal_(std=0.5)
