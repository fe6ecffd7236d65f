"""A grey image with one box, to try a detector on."""
from __future__ import annotations

from typing import Optional

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn


def blank_image(model: nn.Module,
                size: Optional[int] = None) -> tuple[Tensor, DetDataSample]:
    """A grey image with one box, to try a detector on.

    Args:
        model (nn.Module): The detector; gives the device.
        size (int, optional): Height and width in pixels; by default one that
            the detector takes (SSD has no pixel left of smaller images).

    Returns:
        tuple[Tensor, DetDataSample]: [1, 3, size, size], and meta data with
        ``gt_instances``.
    """
    if size is None and hasattr(model, 'input_size'):  # a classifier's
        size = model.input_size
    elif size is None:
        head = getattr(model, 'bbox_head', None)
        priors = getattr(head, 'prior_generator', None)
        size = getattr(priors, 'input_size', 256)
    device = next(model.parameters()).device
    sample = DetDataSample(
        metainfo=dict(
            img_shape=(size, size),
            ori_shape=(size, size),
            pad_shape=(size, size),
            batch_input_shape=(size, size),
            scale_factor=(1.0, 1.0)))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[64., 64., 128., 160.]], device=device),
        labels=torch.zeros(1, dtype=torch.long, device=device))
    return torch.zeros(1, 3, size, size, device=device), sample
