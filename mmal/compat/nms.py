"""Greedy non-maximum suppression, with mmcv's arithmetic and order."""
import numpy as np
import torch
from torch import Tensor

from .gpu import torchvision_ops

BLOCK = 256  # boxes whose overlaps are computed at once


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float,
        offset: int = 0) -> Tensor:
    """Exact greedy NMS.

    Boxes are visited by descending score, equal scores in input order. (So
    does mmcv, except that with torch >= 2.6 its sort is unstable on CPUs
    with AVX-512: there the order of equal scores depends on the machine.)
    A visited box drops every later box whose IoU with it is greater than
    the threshold; an undefined IoU (0/0) drops nothing. Arithmetic is
    float32, as mmcv's; float64 boxes stay float64, where mmcv raises.

    Args:
        boxes (Tensor): (N, 4), x1, y1, x2, y2 in pixels.
        scores (Tensor): (N, ).
        iou_threshold (float): boxes that overlap more are dropped, in [0, 1].
        offset (int): 0 or 1, added to widths and heights.

    Returns:
        Tensor: int64 (M, ), kept indices by descending score.
    """
    if boxes.numel() == 0:
        return boxes.new_empty((0, ), dtype=torch.long)
    boxes = boxes.detach()
    if boxes.dtype != torch.float64:
        boxes = boxes.float()
    tv = torchvision_ops(boxes)
    if tv is not None:
        shift = boxes.new_tensor([0, 0, offset, offset])
        return tv.nms(boxes + shift, scores.detach().to(boxes),
                      float(iou_threshold))
    order = scores.detach().sort(dim=0, descending=True, stable=True)[1]
    boxes, threshold, offset = boxes[order], float(iou_threshold), int(offset)
    sides = boxes[:, 2:] - boxes[:, :2] + offset
    areas = sides[:, 0] * sides[:, 1]
    alive = torch.arange(len(boxes), device=boxes.device)
    kept = []
    # Block by block: only within a block must the boxes be visited one by
    # one, and memory grows with N, not with its square.
    while len(alive):
        block = alive[:BLOCK]
        drops = _overlaps(boxes, areas, block, alive, offset) > threshold
        within = np.triu(drops[:, :len(block)].cpu().numpy(), 1)
        dropped = np.zeros(len(block), dtype=bool)
        for row, drop in enumerate(within):
            if not dropped[row]:
                dropped |= drop
        chosen = torch.from_numpy(~dropped).to(boxes.device)
        kept.append(block[chosen])
        survives = ~drops[chosen, len(block):].any(0)
        alive = alive[len(block):][survives]
    return order[torch.cat(kept)]


def _overlaps(boxes: Tensor, areas: Tensor, rows: Tensor, columns: Tensor,
              offset: int) -> Tensor:
    """IoU of ``boxes[rows]`` with ``boxes[columns]``, (R, C)."""
    first, second = boxes[rows, None], boxes[columns]
    low = torch.maximum(first[..., :2], second[:, :2])
    high = torch.minimum(first[..., 2:], second[:, 2:])
    sides = (high - low + offset).clamp(min=0)
    inter = sides[..., 0] * sides[..., 1]
    return inter / (areas[rows, None] + areas[columns] - inter)
