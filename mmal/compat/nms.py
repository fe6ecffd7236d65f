"""Greedy non-maximum suppression, with mmcv's arithmetic and order."""
import numpy as np
import torch
from torch import Tensor

from .torchvision_ops import torchvision_ops

# Boxes decided at a time, at first and later on: where boxes crowd, the few
# that are kept of the first ones drop most of the others.
FIRST_BLOCK, BLOCK = 128, 2048
ROWS, COLUMNS = 64, 1024  # of the tables of pairs, which fit into the cache
_ABOVE_DIAGONAL = ~np.tri(ROWS, dtype=bool)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float,
        offset: int = 0) -> Tensor:
    """Exact greedy NMS.

    Boxes are visited by descending score, equal scores in input order. (So
    does mmcv, except that with torch >= 2.6 its sort is unstable on CPUs
    with AVX-512: there the order of equal scores depends on the machine.)
    A visited box drops every later box whose IoU with it is greater than
    the threshold; an undefined IoU (0/0) drops nothing. Arithmetic is
    float32, as mmcv's; float64 boxes stay float64, where mmcv raises.

    Where torchvision can be imported, its operator does the work, except
    with an offset. It keeps the same boxes; only where the processor fuses
    multiplication and addition (CUDA, ARM) may an IoU within rounding of the
    threshold be decided otherwise. Without torchvision boxes on a GPU are
    copied to the CPU, once, and what is kept back.

    Args:
        boxes (Tensor): (N, 4), x1, y1, x2, y2 in pixels.
        scores (Tensor): (N, ).
        iou_threshold (float): boxes that overlap more are dropped, in [0, 1].
        offset (int): 0 or 1, added to widths and heights.

    Returns:
        Tensor: int64 (M, ), kept indices by descending score.

    Raises:
        ValueError: the threshold is negative or not a number.
    """
    if not iou_threshold >= 0:
        raise ValueError(f'nms: iou_threshold is {iou_threshold}; give a '
                         f'number from 0 to 1')
    if boxes.numel() == 0:
        return boxes.new_empty((0, ), dtype=torch.long)
    boxes = boxes.detach()
    if boxes.dtype != torch.float64:
        boxes = boxes.float()
    # The threshold is rounded as the IoUs are: torchvision would compare an
    # IoU of float32 with a threshold of float64.
    if boxes.dtype == torch.float32:
        iou_threshold = np.float32(iou_threshold)
    order = scores.detach().sort(dim=0, descending=True, stable=True)[1]
    tv = torchvision_ops(boxes.device.type)
    # torchvision knows no offset. Of equal scores it promises no order, so it
    # is given none: the boxes in their order and scores that fall.
    if tv is not None and not offset:
        falling = torch.arange(len(boxes), 0, -1, device=boxes.device)
        return order[tv.nms(boxes[order], falling.to(boxes),
                            float(iou_threshold))]
    with np.errstate(all='ignore'):
        kept = _kept(boxes[order].cpu().numpy(), float(iou_threshold),
                     int(offset))
    # Numbers, as a mask on a GPU would wait for how many it keeps.
    return order[torch.from_numpy(np.flatnonzero(kept)).to(
        order.device, non_blocking=True)]


def _kept(boxes: np.ndarray, threshold: float, offset: int) -> np.ndarray:
    """Which boxes, best first, are kept: bool (N, ).

    The boxes lie sorted by x1, so that whatever can overlap one of them are
    its neighbours. Again and again a block of the best that are left is
    taken; what is kept of it then drops others of what is left. So memory
    grows with N, not with its square, however the boxes lie.
    """
    kept = np.ones(len(boxes), dtype=bool)
    x1, y1, x2, y2 = boxes.T
    widths, heights = x2 - x1 + offset, y2 - y1 + offset
    areas = widths * heights
    # An intersection is no wider, higher or larger than either of its boxes,
    # in floating point too, since rounding keeps the order of numbers. The
    # IoUs of a box without a positive and finite area thus are 0 or
    # undefined, and it is kept.
    ranks = np.flatnonzero((widths > 0) & (heights > 0) & (areas > 0) &
                           (areas < np.inf))
    corners = np.stack([x1, y1, x2, y2, areas])[:, ranks]
    if len(ranks) <= FIRST_BLOCK:  # too few for an order to pay
        drops = _overlap(corners, corners, threshold, offset,
                         np.empty((3, len(ranks)**2), corners.dtype))
        dropped = np.zeros(len(ranks), dtype=bool)
        for place, drop in enumerate(drops):
            if dropped[place]:
                kept[ranks[place]] = False
            else:
                dropped |= drop
        return kept
    by_x1 = np.argsort(corners[0])
    corners, ranks = corners[:, by_x1], ranks[by_x1]
    # Where the IoU is greater than the threshold t, the common width is at
    # least t times the larger width: the x1 of a neighbour of a box of width
    # w lies from x1 - (1 / t - 1) w to x1 + (1 - t) w. A thousandth more
    # covers all rounding, but for areas that nearly underflow.
    width = widths[ranks].astype(float)
    slack = 1e-3 * (width + offset)
    span = np.empty((3, len(ranks)))
    span[0], span[1], span[2] = corners[0], -np.inf, corners[0] + width + slack
    if threshold > 1e-3:
        normal = corners[4] > 1e-30
        np.subtract(span[0] + width, (width + slack) / threshold,
                    out=span[1], where=normal)
        np.subtract(span[2], threshold * width, out=span[2], where=normal)
    # Fresh memory for each of many small steps would cost more than they do.
    scratch = np.empty((3, ROWS * min(2 * BLOCK, len(ranks))),
                       dtype=corners.dtype)
    size = FIRST_BLOCK
    while len(ranks):
        size = len(ranks) if len(ranks) <= 2 * size else size
        top = ranks <= np.partition(ranks, size - 1)[size - 1]
        best, reach, best_ranks = corners[:, top], span[:, top], ranks[top]
        corners, span, ranks = corners[:, ~top], span[:, ~top], ranks[~top]
        size = BLOCK
        wins = _visit(best, reach, best_ranks, threshold, offset, scratch)
        kept[best_ranks[~wins]] = False
        if not len(ranks):
            break
        best, reach = best[:, wins], reach[:, wins]
        dropped = np.zeros(len(ranks), dtype=bool)
        for row in range(0, best.shape[1], ROWS):
            rows = slice(row, row + ROWS)
            first, stop = np.searchsorted(
                span[0], [reach[1, rows].min(), reach[2, rows].max()])
            for column in range(first, stop, COLUMNS):
                columns = slice(column, min(column + COLUMNS, stop))
                dropped[columns] |= _overlap(
                    best[:, rows], corners[:, columns], threshold, offset,
                    scratch).any(0)
        kept[ranks[dropped]] = False
        corners, span = corners[:, ~dropped], span[:, ~dropped]
        ranks = ranks[~dropped]
    return kept


def _visit(corners: np.ndarray, span: np.ndarray, ranks: np.ndarray,
           threshold: float, offset: int, scratch: np.ndarray) -> np.ndarray:
    """Which boxes of a block are kept: bool (B, ).

    First the pairs whose IoU is greater than the threshold are listed, then
    the boxes visited, best first, that have such a partner after them.
    """
    places = np.empty(len(ranks), dtype=np.int16)
    places[np.argsort(ranks)] = np.arange(len(ranks), dtype=np.int16)
    starts = np.arange(0, len(ranks), ROWS)
    stops = np.searchsorted(span[0], np.maximum.reduceat(span[2], starts))
    firsts, seconds = [], []
    for start, stop in zip(starts.tolist(), stops.tolist()):
        rows = slice(start, start + ROWS)
        columns = slice(start, max(stop, start + ROWS))
        drops = _overlap(corners[:, rows], corners[:, columns], threshold,
                         offset, scratch)
        number, width = drops.shape
        # no box with itself, no pair twice
        drops[:, :number] &= _ABOVE_DIAGONAL[:number, :number]
        pairs = np.flatnonzero(drops)
        if len(pairs):
            row = pairs // width
            firsts.append(places[rows][row])
            seconds.append(places[columns][pairs - row * width])
    kept = np.ones(len(ranks), dtype=bool)
    if firsts:
        firsts, seconds = np.concatenate(firsts), np.concatenate(seconds)
        better = np.minimum(firsts, seconds)
        order = np.argsort(better, kind='stable')  # of int16: a radix sort
        better = better[order]
        worse = np.maximum(firsts, seconds)[order].astype(np.intp)
        begins = [0, *(np.flatnonzero(better[1:] != better[:-1]) + 1).tolist()]
        stops = [*begins[1:], len(better)]
        for place, begin, stop in zip(better[begins].tolist(), begins, stops):
            if kept[place]:
                kept[worse[begin:stop]] = False
    return kept[places]


def _overlap(rows: np.ndarray, columns: np.ndarray, threshold: float,
             offset: int, scratch: np.ndarray) -> np.ndarray:
    """Whether the IoU of two boxes is greater than the threshold.

    Args:
        rows (np.ndarray): (5, R), x1, y1, x2, y2 and area.
        columns (np.ndarray): (5, C), the same of other boxes.

    Returns:
        np.ndarray: bool (R, C).
    """
    shape = rows.shape[1], columns.shape[1]
    width, height, other = scratch[:, :shape[0] * shape[1]].reshape(3, *shape)
    x1, y1, x2, y2, area = rows[:, :, None]
    np.minimum(x2, columns[2], out=width)
    width -= np.maximum(x1, columns[0], out=other)
    np.minimum(y2, columns[3], out=height)
    height -= np.maximum(y1, columns[1], out=other)
    if offset:
        width += offset
        height += offset
    # Asking this is faster than mmcv's maximum with 0 of both sides, and the
    # same: with a positive width, a negative height gives a negative IoU.
    together = width > 0
    intersection = np.multiply(width, height, out=width)
    union = np.add(area, columns[4], out=other)
    union -= intersection
    greater = np.divide(intersection, union, out=other) > \
        rows.dtype.type(threshold)
    greater &= together
    return greater
