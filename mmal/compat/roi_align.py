"""RoIAlign, forward and backward, with mmcv's sampling points.

Bilinear interpolation factors into rows and columns. A box's sampling
points give one matrix per axis, of shape (bins * grid, pixels), and every
sample of a channel is ``rows @ crop @ columns.T``; averaging the matrices
over the grid first gives average pooling, the transposes its derivative.
"""
from typing import Iterator, NamedTuple, Tuple

import numpy as np
import torch
from torch import Tensor

from .torchvision_ops import torchvision_ops

_MAX, _AVERAGE = 0, 1
_NOWHERE = -2.  # a position outside every map: no sample, no gradient


class _Axis(NamedTuple):
    """Sampling points of one box along one axis."""
    positions: Tensor  # (bins * grid, ), in pixels of the feature map
    matrix: Tensor  # (bins * grid, stop - start)
    start: int
    stop: int
    grid: int

    def mean(self) -> Tensor:
        """(bins, stop - start), the matrix averaged over the grid."""
        bins = len(self.matrix) // self.grid
        return self.matrix.view(bins, self.grid, -1).mean(1)


def roi_align_forward(input: Tensor, rois: Tensor, output: Tensor,
                      argmax_y: Tensor, argmax_x: Tensor,
                      aligned_height: int, aligned_width: int,
                      spatial_scale: float, sampling_ratio: int,
                      pool_mode: int, aligned: bool) -> None:
    """RoIAlign of He et al., ICCV 2017; fills ``output`` in place.

    float16 and bfloat16 are computed in float32. A box without samples
    (zero size, ``aligned``, adaptive grid) gives 0.

    Args:
        input (Tensor): (B, C, H, W).
        rois (Tensor): (K, 5), image index and x1, y1, x2, y2.
        output (Tensor): (K, C, aligned_height, aligned_width).
        argmax_y (Tensor): as ``output``, filled with the row of the largest
            sample where ``pool_mode`` is 0.
        argmax_x (Tensor): as ``argmax_y``, the column.
        aligned_height (int): bins per box.
        aligned_width (int): bins per box.
        spatial_scale (float): feature pixels per pixel of the boxes.
        sampling_ratio (int): samples per bin and axis; 0: one per pixel.
        pool_mode (int): 0 max, 1 average.
        aligned (bool): shift by half a pixel, and allow boxes smaller than
            one feature pixel.

    Raises:
        ValueError: a box that is not finite, or is ``aligned`` and has
            a negative width or height.
    """
    maps = _widened(input)
    tv = torchvision_ops(input.device.type)
    if tv is not None and pool_mode == _AVERAGE:
        _scaled(rois, maps, spatial_scale, aligned)
        output.copy_(tv.roi_align(
            maps, rois.detach().to(maps), (aligned_height, aligned_width),
            float(np.float32(spatial_scale)), sampling_ratio, aligned))
        return
    if pool_mode == _MAX:
        argmax_y.fill_(_NOWHERE)
        argmax_x.fill_(_NOWHERE)
    boxes = _axes(rois, maps, (aligned_height, aligned_width), spatial_scale,
                  sampling_ratio, aligned)
    for number, image, y, x in boxes:
        crop = maps[image, :, y.start:y.stop, x.start:x.stop]
        if pool_mode == _AVERAGE:
            output[number] = y.mean() @ crop @ x.mean().T
            continue
        # (C, height, width, grid * grid): argmax gives the first of equals
        samples = (y.matrix @ crop @ x.matrix.T).view(
            len(crop), aligned_height, y.grid, aligned_width,
            x.grid).transpose(2, 3).flatten(3)
        best = samples.argmax(-1)
        output[number] = samples.gather(-1, best[..., None])[..., 0]
        row = torch.arange(aligned_height, device=best.device)[:, None]
        column = torch.arange(aligned_width, device=best.device)
        argmax_y[number] = y.positions[row * y.grid + best // x.grid]
        argmax_x[number] = x.positions[column * x.grid + best % x.grid]


def roi_align_backward(grad_output: Tensor, rois: Tensor, argmax_y: Tensor,
                       argmax_x: Tensor, grad_input: Tensor,
                       aligned_height: int, aligned_width: int,
                       spatial_scale: float, sampling_ratio: int,
                       pool_mode: int, aligned: bool) -> None:
    """Derivative of :func:`roi_align_forward`; adds to ``grad_input``.

    Args:
        grad_output (Tensor): (K, C, aligned_height, aligned_width).
        grad_input (Tensor): (B, C, H, W); the other arguments are those
            of the forward pass.
    """
    if pool_mode == _MAX:
        _backward_max(grad_output, rois, argmax_y, argmax_x, grad_input)
        return
    size = (aligned_height, aligned_width)
    total = torch.zeros_like(_widened(grad_input))
    grads = _widened(grad_output)
    tv = torchvision_ops(grad_output.device.type)
    if tv is not None:
        # The operator is linear: its derivative is the same everywhere.
        with torch.enable_grad():
            pooled = tv.roi_align(
                total.requires_grad_(), rois.detach().to(total), size,
                float(np.float32(spatial_scale)), sampling_ratio, aligned)
            gradient = torch.autograd.grad(pooled, total, grads)[0]
        grad_input += gradient.to(grad_input.dtype)
        return
    for number, image, y, x in _axes(rois, total, size, spatial_scale,
                                     sampling_ratio, aligned):
        total[image, :, y.start:y.stop, x.start:x.stop] += \
            y.mean().T @ grads[number] @ x.mean()
    grad_input += total.to(grad_input.dtype)


def _widened(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _scaled(rois: Tensor, maps: Tensor, scale: float,
            aligned: bool) -> Tuple[Tensor, Tensor]:
    """Upper left corners and sizes in feature pixels, (K, 2) each.

    Raises:
        ValueError: see :func:`roi_align_forward`.
    """
    # mmcv passes the scale as float32.
    corners = rois[:, 1:].detach().to(maps) * float(np.float32(scale))
    corners = corners - 0.5 if aligned else corners
    starts, lengths = corners[:, :2], corners[:, 2:] - corners[:, :2]
    good = lengths.isfinite().all(1)
    if aligned:
        good &= (lengths >= 0).all(1)
    if not good.all():
        number = int((~good).nonzero()[0])
        raise ValueError(
            f'roi_align: box {number} is {rois[number, 1:].tolist()} (x1, '
            f'y1, x2, y2), of {len(rois)}; coordinates must be finite and '
            f'x2 >= x1, y2 >= y1')
    return starts, lengths


def _axes(rois: Tensor, maps: Tensor, bins: Tuple[int, int], scale: float,
          ratio: int,
          aligned: bool) -> Iterator[Tuple[int, int, _Axis, _Axis]]:
    """Number, image and the two axes of every box that has samples."""
    starts, lengths = _scaled(rois, maps, scale, aligned)
    if not aligned:  # mmcv then makes every box at least 1 x 1
        lengths = lengths.clamp(min=1)
    # 0 as the ratio asks for about one sample per pixel of the map
    steps = lengths / lengths.new_tensor([bins[1], bins[0]])
    grids = steps.float().ceil().long().tolist()
    images = rois[:, 0].long().tolist()
    starts, steps = starts.tolist(), steps.tolist()
    for number, image in enumerate(images):
        grid_x, grid_y = [ratio] * 2 if ratio > 0 else grids[number]
        if grid_x == 0 or grid_y == 0:
            continue
        yield (number, image,
               _axis(starts[number][1], steps[number][1], bins[0], grid_y,
                     maps, maps.size(2)),
               _axis(starts[number][0], steps[number][0], bins[1], grid_x,
                     maps, maps.size(3)))


def _axis(start: float, step: float, bins: int, grid: int, like: Tensor,
          size: int) -> _Axis:
    offsets = torch.arange(grid, device=like.device).to(like.dtype) + 0.5
    edges = torch.arange(bins, device=like.device).to(like.dtype) * step
    positions = ((start + edges)[:, None] + offsets * step / grid).flatten()
    low, high, fraction, inside = _neighbours(positions, size)
    # only the pixels that the box sees, so that a large map costs no more
    first, stop = int(low.min()), int(high.max()) + 1
    matrix = positions.new_zeros(len(positions), stop - first)
    matrix.scatter_add_(1, (low - first)[:, None],
                        ((1 - fraction) * inside)[:, None])
    matrix.scatter_add_(1, (high - first)[:, None],
                        (fraction * inside)[:, None])
    return _Axis(positions, matrix, first, stop, grid)


def _neighbours(positions: Tensor,
                size: int) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pixels below and above, weight of the latter, and whether inside.

    Up to one pixel outside the map counts as its edge, beyond as nothing.
    """
    inside = (positions >= -1) & (positions <= size)
    positions = positions.clamp(0, size - 1)
    low = positions.long()
    return low, (low + 1).clamp(max=size - 1), positions - low, inside


def _backward_max(grad_output: Tensor, rois: Tensor, argmax_y: Tensor,
                  argmax_x: Tensor, grad_input: Tensor) -> None:
    _, channels, height, width = grad_input.shape
    y0, y1, fy, inside_y = _neighbours(_widened(argmax_y), height)
    x0, x1, fx, inside_x = _neighbours(_widened(argmax_x), width)
    grads = _widened(grad_output) * (inside_y & inside_x)
    plane = (rois[:, 0].long()[:, None] * channels +
             torch.arange(channels, device=rois.device))[..., None, None]
    # A sample's gradient goes to its four pixels; added up in float32 or
    # better, since many samples of overlapping boxes meet in a pixel.
    total = torch.zeros_like(_widened(grad_input)).flatten()
    for row, weight_y in ((y0, 1 - fy), (y1, fy)):
        for column, weight_x in ((x0, 1 - fx), (x1, fx)):
            place = (plane * height + row) * width + column
            total.index_add_(0, place.flatten(),
                             (grads * weight_y * weight_x).flatten())
    grad_input += total.view(grad_input.shape).to(grad_input.dtype)
