"""Soft non-maximum suppression, with mmcv's arithmetic and order."""
from typing import Callable, List

import numpy as np
import torch
from torch import Tensor


def softnms(boxes: Tensor, scores: Tensor, dets: Tensor, iou_threshold: float,
            sigma: float, min_score: float, method: int,
            offset: int) -> Tensor:
    """Soft-NMS of Bodla et al., ICCV 2017; ``dets`` is filled in place.

    The box with the highest score is taken, and the scores of the others
    decay with their IoU with it; one that falls below ``min_score`` is
    dropped. mmcv fills the gap of a dropped box with the last box, which
    decides between equal scores; so does this.

    Args:
        boxes (Tensor): (N, 4), x1, y1, x2, y2 in pixels.
        scores (Tensor): (N, ).
        dets (Tensor): (N, 5), its first M rows become box and decayed score.
        iou_threshold (float): methods 0 and 1 decay from this IoU on.
        sigma (float): width of method 2, ``exp(-iou^2 / sigma)``.
        min_score (float): boxes below are dropped.
        method (int): 0 naive (to zero), 1 linear (times ``1 - iou``),
            2 gaussian.
        offset (int): 0 or 1, added to widths and heights.

    Returns:
        Tensor: int64 (M, ), indices in the order taken.
    """
    kind = np.float64 if boxes.dtype == torch.float64 else np.float32
    rows = np.empty((len(boxes), 6), dtype=kind)
    # together, as each copy from a GPU waits for it
    rows[:, :5] = torch.cat([boxes, scores[:, None].to(boxes)],
                            1).detach().cpu().numpy()
    # of the boxes' own type: scalars of float64 would widen the arithmetic
    threshold, sigma = kind(iou_threshold), kind(sigma)
    decays = {
        0: lambda iou: np.where(iou >= threshold, 0, 1),
        1: lambda iou: np.where(iou >= threshold, 1 - iou, 1),
        2: lambda iou: np.exp(-(iou * iou) / sigma),
    }
    if method not in decays:
        raise ValueError(f'softnms: method is {method!r}; use 0 (naive), '
                         f'1 (linear) or 2 (gaussian)')
    decay = decays[method]
    with np.errstate(all='ignore'):
        rows[:, 5] = ((rows[:, 2] - rows[:, 0] + offset) *
                      (rows[:, 3] - rows[:, 1] + offset))
        order = _take_all(rows, decay, kind(min_score), offset)
    dets[:len(order)] = torch.from_numpy(rows[:len(order), :5]).to(
        dets, non_blocking=True)
    return torch.tensor(order, dtype=torch.long).to(boxes.device,
                                                    non_blocking=True)


def _take_all(rows: np.ndarray, decay: Callable, min_score: float,
              offset: int) -> List[int]:
    """Take boxes until none is left; ``rows`` ends in the order taken."""
    index = np.arange(len(rows))
    count, first = len(rows), 0
    while first < count:
        scores = rows[first:count, 4]
        best = first
        # An undefined score is never better than another, nor beaten by one.
        if not np.isnan(scores[0]):
            best += int(np.argmax(np.where(np.isnan(scores), -np.inf,
                                           scores)))
        rows[[first, best]] = rows[[best, first]]
        index[[first, best]] = index[[best, first]]
        box, others = rows[first], rows[first + 1:count]
        numbers = index[first + 1:count]
        low = np.maximum(box[:2], others[:, :2])
        high = np.minimum(box[2:4], others[:, 2:4])
        sides = np.maximum(high - low + offset, 0)
        inter = sides[:, 0] * sides[:, 1]
        others[:, 4] *= decay(inter / (box[5] + others[:, 5] - inter))
        dropped = others[:, 4] < min_score
        # Gaps are closed from the end, as mmcv does one by one: the order of
        # what is left decides between equal scores.
        left = len(dropped) - int(dropped.sum())
        survivors = np.arange(left)
        survivors[dropped[:left]] = \
            left + np.flatnonzero(~dropped[left:])[::-1]
        others[:left], numbers[:left] = others[survivors], numbers[survivors]
        first += 1
        count = first + left
    return index[:count].tolist()
