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
    rows[:, :4] = boxes.detach().cpu().numpy()
    rows[:, 4] = scores.detach().cpu().numpy()
    decay = _decay(method, kind(iou_threshold), kind(sigma))
    with np.errstate(all='ignore'):
        rows[:, 5] = _areas(rows, offset)
        order = _take_all(rows, decay, kind(min_score), offset)
    dets[:len(order)] = torch.from_numpy(rows[:len(order), :5]).to(dets)
    return torch.tensor(order, dtype=torch.long, device=boxes.device)


def _take_all(rows: np.ndarray, decay: Callable, min_score: float,
              offset: int) -> List[int]:
    """Take boxes until none is left; ``rows`` ends in the order taken."""
    index = np.arange(len(rows))
    count, taken = len(rows), 0
    while taken < count:
        best = taken + _first_best(rows[taken:count, 4])
        rows[[taken, best]] = rows[[best, taken]]
        index[[taken, best]] = index[[best, taken]]
        rest = rows[taken + 1:count]
        rest[:, 4] *= decay(_overlaps(rows[taken], rest, offset))
        survivors = _fill_gaps(rest[:, 4] < min_score)
        rest[:len(survivors)] = rest[survivors]
        remaining = index[taken + 1:count]
        remaining[:len(survivors)] = remaining[survivors]
        taken += 1
        count = taken + len(survivors)
    return index[:count].tolist()


def _first_best(scores: np.ndarray) -> int:
    # An undefined score is never better than another, nor beaten by one.
    if np.isnan(scores[0]):
        return 0
    return int(np.argmax(np.where(np.isnan(scores), -np.inf, scores)))


def _fill_gaps(dropped: np.ndarray) -> np.ndarray:
    """Positions of survivors, gaps closed from the end."""
    count = len(dropped) - int(dropped.sum())
    places = np.arange(count)
    gaps = np.flatnonzero(dropped[:count])
    places[gaps] = count + np.flatnonzero(~dropped[count:])[::-1]
    return places


def _decay(method: int, threshold: float, sigma: float) -> Callable:
    """Factor of a score as a function of IoU, elementwise."""
    if method == 0:
        return lambda iou: np.where(iou >= threshold, 0, 1)
    if method == 1:
        return lambda iou: np.where(iou >= threshold, 1 - iou, 1)
    if method == 2:
        return lambda iou: np.exp(-(iou * iou) / sigma)
    raise ValueError(f'softnms: method is {method!r}; use 0 (naive), '
                     f'1 (linear) or 2 (gaussian)')


def _areas(rows: np.ndarray, offset: int) -> np.ndarray:
    return ((rows[:, 2] - rows[:, 0] + offset) *
            (rows[:, 3] - rows[:, 1] + offset))


def _overlaps(box: np.ndarray, rows: np.ndarray, offset: int) -> np.ndarray:
    """IoU of one box with the others, (R, )."""
    low = np.maximum(box[:2], rows[:, :2])
    high = np.minimum(box[2:4], rows[:, 2:4])
    sides = np.maximum(high - low + offset, 0)
    inter = sides[:, 0] * sides[:, 1]
    return inter / (box[5] + rows[:, 5] - inter)
