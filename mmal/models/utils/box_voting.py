"""Boxes as means over the candidates that NMS drops for them."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

import torch
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData
from torch import Tensor

from mmal.uncertainty import at_least_float32

DEFAULTS = dict(temperature=0.025, use_std=True)


def vote(detections: InstanceData, candidates: InstanceData,
         options: Mapping) -> Tensor:
    """Variance voting (He et al., CVPR 2019, section 3.3).

    "Bounding Box Regression with Uncertainty for Accurate Object Detection":
    each edge of a detection b becomes the mean of that edge over all
    candidates b_i of its class that overlap it, weighted by

        exp(-(1 - IoU(b_i, b))² / temperature) / std_i²,

    so that candidates which are close to it, and sure of that edge, count
    most. Scores, labels and the order stay.

    Args:
        detections (InstanceData): m that NMS has kept, with ``bboxes`` and
            ``labels``.
        candidates (InstanceData): n before NMS, with the same, and
            ``box_std`` [n, 4] of each edge. All in the same image.
        options (Mapping): ``temperature`` (0.025, > 0; the paper's values are
            0.005 to 0.05), and ``use_std`` (True; False weighs by overlap
            alone, a box voting without uncertainty).

    Returns:
        Tensor: Boxes [m, 4]. O(m n) numbers are held.

    Raises:
        ValueError: If an option is unknown or out of range, or the
            candidates have no ``box_std``.
    """
    options = voting_options(options)
    if options['use_std'] and 'box_std' not in candidates:
        raise ValueError(
            'test_cfg.box_voting weighs candidates by box_std, which this '
            'head does not give: set box_components above 0 with mmdet\'s '
            'DeltaXYWHBBoxCoder, or test_cfg.box_voting.use_std to False.')
    boxes = at_least_float32(candidates.bboxes)
    ious = bbox_overlaps(at_least_float32(detections.bboxes), boxes)
    counted = (ious > 0) & (
        detections.labels[:, None] == candidates.labels[None])
    weights = (-(1 - ious).square() / options['temperature']).exp() * counted
    if options['use_std']:
        precision = at_least_float32(candidates.box_std).clamp(
            min=1e-3).square().reciprocal()
    else:
        precision = torch.ones_like(boxes)
    # relative to the largest, so that no sum is lost to rounding
    precision = precision / precision.amax(0, keepdim=True) if len(
        precision) else precision
    total = weights @ precision
    # from the box itself on: small shifts of large numbers
    shift = weights @ (precision * boxes) - total * detections.bboxes
    voted = detections.bboxes + shift / total.clamp(min=1e-30)
    return torch.where(total > 0, voted, detections.bboxes).to(
        detections.bboxes.dtype)


def voting_options(options: Optional[Mapping]) -> dict:
    """Complete ``test_cfg.box_voting``; empty for None.

    Raises:
        ValueError: If a key is unknown or the temperature is not above 0.
    """
    if options is None:
        return {}
    unknown = sorted(set(options) - set(DEFAULTS))
    if unknown:
        raise ValueError(f'test_cfg.box_voting has the unknown key '
                         f'{unknown[0]!r}: give {", ".join(DEFAULTS)}.')
    options = {**DEFAULTS, **options}
    if not options['temperature'] > 0:
        raise ValueError(
            'test_cfg.box_voting.temperature is '
            f'{options["temperature"]!r}: give a number above 0, e.g. 0.025.')
    return options
