"""How far boxes move."""
import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import at_least_float32


def best_overlap(boxes: Tensor, others: Tensor) -> Tensor:
    """The largest IoU of each box with any of some others.

    Args:
        boxes (Tensor): [..., N, 4], x1, y1, x2, y2.
        others (Tensor): [..., M, 4] with the same leading dimensions.

    Returns:
        Tensor: [..., N] in [0, 1]; 0 where there is no other box, or where
        a box has no area.

    Example:
        >>> boxes = torch.tensor([[0., 0., 4., 2.], [9., 9., 10., 10.]])
        >>> best_overlap(boxes, torch.tensor([[2., 0., 6., 2.]])).round(
        ...     decimals=3)
        tensor([0.3330, 0.0000])
    """
    boxes = at_least_float32(boxes).unsqueeze(-2)
    # A box of no size stands in where there is none.
    others = F.pad(at_least_float32(others), (0, 0, 0, 1)).unsqueeze(-3)
    top_left = torch.maximum(boxes[..., :2], others[..., :2])
    bottom_right = torch.minimum(boxes[..., 2:], others[..., 2:])
    shared = _area(bottom_right - top_left)
    both = _area(_size(boxes)) + _area(_size(others)) - shared
    tiny = torch.finfo(both.dtype).tiny
    return (shared / both.clamp(min=tiny)).amax(-1).clamp(max=1)


def _size(boxes: Tensor) -> Tensor:
    return boxes[..., 2:] - boxes[..., :2]


def _area(size: Tensor) -> Tensor:
    return size.clamp(min=0).prod(-1)
