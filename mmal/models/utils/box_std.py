"""Standard deviations of boxes whose deltas are uncertain."""
from __future__ import annotations

import math
from typing import Optional

import torch
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from torch import Tensor, nn

from mmal.uncertainty import at_least_float32
from ..layers import GaussianMixture

# beyond it mmdet's coder lets no box grow or shrink
MAX_LOG_RATIO = abs(math.log(16 / 1000))


def delta_box_std(coder: DeltaXYWHBBoxCoder, priors: Tensor, deltas: Tensor,
                  variances: Tensor) -> Tensor:
    """Standard deviations of decoded boxes, by the delta method.

    With the centre x = px + pw·dx and the width w = pw·exp(dw), and with dx
    and dw (after the coder's means and stds) independent, both x - w/2 and
    x + w/2 have the variance pw²·Var(dx) + w²/4·Var(dw) up to terms of higher
    order; y likewise. That a box ends at the border of the image is left out:
    the object may still end elsewhere.

    Args:
        coder (DeltaXYWHBBoxCoder): Decodes ``deltas``.
        priors (Tensor): Anchors or proposals [n, 4], x1, y1, x2, y2.
        deltas (Tensor): Their means [n, 4], as the coder takes them.
        variances (Tensor): Their variances [n, 4], >= 0.

    Returns:
        Tensor: [n, 4] of x1, y1, x2, y2, in the unit of ``priors``; at least
        float32.
    """
    priors, deltas, variances = map(at_least_float32,
                                    (priors, deltas, variances))
    means, stds = torch.tensor(
        (coder.means, coder.stds), dtype=deltas.dtype).to(
            deltas.device, non_blocking=True)
    size = priors[:, 2:] - priors[:, :2]
    ratio = (deltas[:, 2:] * stds[2:] + means[2:]).clamp(
        -MAX_LOG_RATIO, MAX_LOG_RATIO)
    spread = variances.sqrt() * stds  # squares of it might overflow
    std = torch.hypot(size * spread[:, :2],
                      size * ratio.exp() / 2 * spread[:, 2:])
    return std.repeat(1, 2)


def mixture_box_std(coder: nn.Module, priors: Tensor,
                    mixture: Optional[GaussianMixture], img_meta: dict,
                    rescale: bool) -> Optional[Tensor]:
    """The field ``box_std`` of n detections.

    Args:
        coder (nn.Module): The head's ``bbox_coder``.
        priors (Tensor): The prior of each detection, [n, 4] in pixels of the
            network's input.
        mixture (GaussianMixture, optional): Of its deltas, [n, K, 4].
        img_meta (dict): ``scale_factor`` (w, h), if ``rescale``.
        rescale (bool): Whether boxes are given in the original image.

    Returns:
        Tensor: sqrt(aleatoric + epistemic) of x1, y1, x2, y2 in pixels of the
        image that the boxes are given in, [n, 4]; None without a mixture, or
        with another coder than mmdet's ``DeltaXYWHBBoxCoder``.
    """
    if mixture is None or not isinstance(coder, DeltaXYWHBBoxCoder):
        return None
    std = delta_box_std(coder, priors, mixture.mean,
                        mixture.aleatoric + mixture.epistemic)
    if rescale:
        std = std / std.new_tensor(img_meta['scale_factor'][:2]).repeat(2)
    return std
