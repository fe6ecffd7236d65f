"""Mixtures of the edges of boxes, from those that a head predicts."""
from __future__ import annotations

from typing import Any, Mapping, Optional

import torch
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from torch import Tensor, nn

from mmal.uncertainty import at_least_float32
from ..layers import GaussianMixture
from .box_std import MAX_LOG_RATIO


def delta_box_mixture(coder: DeltaXYWHBBoxCoder, priors: Tensor,
                      deltas: GaussianMixture) -> GaussianMixture:
    """Mixtures of x1, y1, x2, y2 of decoded boxes, by the delta method.

    x1 = px + pw·dx - pw·exp(dw)/2 depends on two deltas. With these
    independent, each component i of dx with each component j of dw makes one
    of x1, with the weight pi_i·pi_j and, up to terms of higher order in the
    deviation of dw, the mean of the decoded component means and the variance
    pw²·Var_i(dx) + w_j²/4·Var_j(dw), w_j = pw·exp(dw_j); likewise the others.
    That a box ends at the border of the image is left out.

    Args:
        coder (DeltaXYWHBBoxCoder): Decodes the deltas.
        priors (Tensor): Anchors or proposals [n, 4], x1, y1, x2, y2.
        deltas (GaussianMixture): [n, K, 4], as the coder takes them.

    Returns:
        GaussianMixture: [n, K·K, 4] in the unit of ``priors``.
    """
    priors = at_least_float32(priors)
    offsets, scales = torch.tensor(
        (coder.means, coder.stds), dtype=deltas.means.dtype).to(
            deltas.means.device, non_blocking=True)
    means = deltas.means * scales + offsets
    stds = deltas.variances.sqrt() * scales  # squares of it might overflow
    size = (priors[:, 2:] - priors[:, :2])[:, None]  # [n, 1, 2]
    middle = (priors[:, 2:] + priors[:, :2])[:, None] / 2
    half = size / 2 * means[..., 2:].clamp(-MAX_LOG_RATIO,
                                           MAX_LOG_RATIO).exp()
    return centre_size_mixture(
        middle + size * means[..., :2], size * stds[..., :2], half,
        half * stds[..., 2:], deltas.log_weights.expand_as(means))


def centre_size_mixture(centre: Tensor, centre_std: Tensor, half: Tensor,
                        half_std: Tensor,
                        log_weights: Tensor) -> GaussianMixture:
    """Mixtures of the edges of boxes whose centre and size are mixtures.

    Args:
        centre (Tensor): Means of x and y [n, K, 2] in pixels.
        centre_std (Tensor): Their standard deviations [n, K, 2].
        half (Tensor): Means of half the width and height [n, K, 2].
        half_std (Tensor): Their standard deviations [n, K, 2].
        log_weights (Tensor): Of x, y, width and height [n, K, 4].

    Returns:
        GaussianMixture: [n, K·K, 4] of x1, y1, x2, y2 in pixels.
    """
    # all pairs of a component of the centre and one of the size: [n, K, K, 2]
    first, second = centre[:, :, None], half[:, None]
    std = torch.hypot(centre_std[:, :, None],
                      half_std[:, None]).flatten(1, 2)
    log_weights = (log_weights[:, :, None, :2] +
                   log_weights[:, None, :, 2:]).flatten(1, 2)
    return GaussianMixture(
        torch.cat([first - second, first + second], -1).flatten(1, 2),
        std.repeat(1, 1, 2).square(), log_weights.repeat(1, 1, 2))


def mixture_fields(edges: GaussianMixture, img_meta: dict,
                   rescale: bool) -> dict[str, Tensor]:
    """The fields of detections that hold mixtures.

    Args:
        edges (GaussianMixture): [n, J, 4] of x1, y1, x2, y2 in pixels of the
            network's input.
        img_meta (dict): ``scale_factor`` (w, h), if ``rescale``.
        rescale (bool): Whether boxes are given in the original image.

    Returns:
        dict[str, Tensor]: ``box_mixture_means``, ``box_mixture_stds`` and
        ``box_mixture_weights``, [n, J, 4], in pixels of the image that the
        boxes are given in.
    """
    means, stds = edges.means, edges.variances.sqrt()
    if rescale:
        scale = means.new_tensor(img_meta['scale_factor'][:2]).repeat(2)
        means, stds = means / scale, stds / scale
    return dict(
        box_mixture_means=means,
        box_mixture_stds=stds,
        box_mixture_weights=edges.weights.expand_as(means))


def delta_mixture_fields(cfg: Mapping[str, Any], coder: nn.Module,
                         priors: Tensor, mixture: Optional[GaussianMixture],
                         img_meta: dict, rescale: bool) -> dict[str, Tensor]:
    """:func:`mixture_fields` of a head of deltas, if they are asked for.

    Args:
        cfg (Mapping): ``test_cfg`` of the head, with ``box_mixture``.
        coder (nn.Module): The head's ``bbox_coder``.
        priors (Tensor): The prior of each detection, [n, 4] in pixels of the
            network's input.
        mixture (GaussianMixture, optional): Of its deltas, [n, K, 4].
        img_meta (dict): See :func:`mixture_fields`.
        rescale (bool): Likewise.

    Returns:
        dict[str, Tensor]: Empty unless ``box_mixture`` is True, there is a
        mixture, and the coder is mmdet's ``DeltaXYWHBBoxCoder``.
    """
    if not cfg.get('box_mixture') or mixture is None or not isinstance(
            coder, DeltaXYWHBBoxCoder):
        return {}
    return mixture_fields(
        delta_box_mixture(coder, priors, mixture), img_meta, rescale)
