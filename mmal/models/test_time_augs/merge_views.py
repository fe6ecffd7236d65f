"""Moments of detections of the same object in several views of an image."""
from __future__ import annotations

import torch
from mmdet.structures.bbox import bbox_flip, bbox_overlaps
from mmengine.structures import InstanceData
from torch import Tensor

from mmal.uncertainty import at_least_float32, epistemic, mixture_mean

# x1 and x2, y1 and y2: which column a flip puts in the place of each
_SWAPS = {
    'horizontal': [2, 1, 0, 3],
    'vertical': [0, 3, 2, 1],
    'diagonal': [2, 3, 0, 1]
}
_OPPOSITE = _SWAPS['diagonal']


def unflip(detections: InstanceData, shape: tuple[int, int], direction: str,
           sides: bool) -> InstanceData:
    """Detections in a flipped image as they lie in the image.

    The left side in a flipped image is the right one in the image, so the
    deviations of x1 and x2 change places, and with them what belongs to
    sides. Deltas of centre and size at most change their sign, which no
    variance sees.

    Args:
        detections (InstanceData): n of them, with ``bboxes``.
        shape (tuple[int, int]): Height and width of the image that the boxes
            are given in, in pixels.
        direction (str): 'horizontal', 'vertical' or 'diagonal'.
        sides (bool): Whether ``box_aleatoric`` and ``box_epistemic`` are of
            left, top, right and bottom (FCOS), not of deltas.

    Returns:
        InstanceData: New; the input is left as it is.
    """
    result = detections.new()
    result.bboxes = bbox_flip(detections.bboxes, shape, direction)
    swapped = ['box_std', *(['box_aleatoric', 'box_epistemic'] * sides)]
    for name in swapped:
        if name in detections:
            result[name] = detections[name][:, _SWAPS[direction]]
    return result


def merge_views(detections: InstanceData, view: Tensor, kept: Tensor,
                iou_thr: float, sides: bool,
                mean_boxes: bool = True) -> InstanceData:
    """The moments of each object over the views that detect it.

    An object is a detection that NMS has kept. To it belongs, of every view,
    the detection that overlaps it most among those of its class that NMS
    dropped for it. Their scores, divided by their sum, are the weights w of
    the V views, and the law of total variance gives with means m and
    variances s:

        mean = sum_v w_v m_v      variance = sum_v w_v s_v
                                             + sum_v w_v (m_v - mean)^2

    - ``bboxes``: the mean; ``scores`` and ``labels``: of the one kept.
    - ``box_std``: of this variance, in pixels, about the box that is given.
    - ``box_aleatoric``, ``cls_aleatoric``: the first sum.
    - ``cls_epistemic``: the first sum, and the second one of the
      probabilities of the class (``class_probs``, or else the scores).
    - ``box_epistemic``: likewise. Deltas and distances of two views have
      different priors and strides, so their disagreement is measured in
      pixels and brought into the head's unit by the ratio of the variances in
      both, sum_v w_v (aleatoric + epistemic)_v / box_std_v^2. Deltas of
      centre and size take the mean of both edges.
    - All other floating fields: the mean.

    Args:
        detections (InstanceData): n of all views, with ``bboxes`` of the same
            image, ``scores`` and ``labels``.
        view (Tensor): int64 [n], the view of each, in [0, V).
        kept (Tensor): int64 [m], what NMS has kept, by descending score.
        iou_thr (float): Of the NMS.
        sides (bool): See :func:`unflip`.
        mean_boxes (bool): False leaves the boxes that NMS has kept.

    Returns:
        InstanceData: m detections.
    """
    result = detections[kept]
    rows, weights = _members(detections, view, kept, iou_thr)

    def views_of(name: str) -> Tensor:
        """A field of the members, [m, V, D]."""
        values = at_least_float32(detections[name])
        return values.reshape(len(values), -1)[rows]

    for name, value in detections.items():
        if name not in ('bboxes', 'scores') and value.is_floating_point():
            mean = mixture_mean(weights, views_of(name))
            result[name] = mean.reshape(result[name].shape)
    boxes = views_of('bboxes')
    if mean_boxes:
        result.bboxes = mixture_mean(weights, boxes)
    if 'box_std' in detections:
        # about the box that is given, whether it is the mean or not
        between = mixture_mean(
            weights, (boxes - result.bboxes.unsqueeze(1)).square())
        within = views_of('box_std').square()
        result.box_std = (mixture_mean(weights, within) + between).sqrt()
        if 'box_epistemic' in detections:
            if not sides:
                between = (between + between[:, _OPPOSITE]) / 2
            total = views_of('box_aleatoric') + views_of('box_epistemic')
            tiny = torch.finfo(within.dtype).tiny
            unit = mixture_mean(weights, total / within.clamp(min=tiny))
            result.box_epistemic = result.box_epistemic + unit * between
    if 'cls_epistemic' in detections:
        if 'class_probs' in detections:
            own = result.labels[:, None, None].expand(-1, rows.shape[1], 1)
            probs = views_of('class_probs').gather(2, own)
        else:
            probs = views_of('scores')
        result.cls_epistemic = result.cls_epistemic + epistemic(
            weights, probs).squeeze(-1)
    return result


def _members(detections: InstanceData, view: Tensor, kept: Tensor,
             iou_thr: float) -> tuple[Tensor, Tensor]:
    """The detection of each object in each view: rows [m, V], and weights
    [m, V, 1] that sum to 1 and are 0 where a view has none."""
    objects = torch.arange(len(kept), device=kept.device)
    overlaps = bbox_overlaps(detections.bboxes[kept], detections.bboxes)
    same = (overlaps > iou_thr) & (
        detections.labels[kept, None] == detections.labels)
    # dropped for the first that overlaps it; a kept one is its own
    owner = same.int().argmax(0)
    owner[kept] = objects
    same &= owner == objects[:, None]
    same[objects, kept] = True
    overlaps[objects, kept] = 2.0  # more than any other of its view
    scores = at_least_float32(detections.scores).clamp(min=1e-12)
    rows, weights = [], []
    for number in view.unique():
        best = overlaps.masked_fill(~(same & (view == number)), -1).max(1)
        rows.append(best.indices)
        weights.append(scores[best.indices] * (best.values >= 0))
    weights = torch.stack(weights, 1)
    weights = weights / weights.sum(1, keepdim=True)
    return torch.stack(rows, 1), weights.unsqueeze(-1)
