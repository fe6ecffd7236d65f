"""RoIAlign, forward and backward, with mmcv's sampling points.

Bilinear interpolation factors into rows and columns. Along one axis a bin is
a weighted sum of the few pixels under its samples, so a bin of the output is
a sum over the pairs of both axes. These bags of pixels are listed end to end
for all boxes and summed by ``embedding_bag``, which never forms the products
of pixels and channels. So there are as many operators, which are kernels on
a GPU, for a thousand boxes as for one, and one wait: for the boxes.
"""
from typing import NamedTuple, Optional, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .torchvision_ops import torchvision_ops

_MAX, _AVERAGE = 0, 1
_NOWHERE = -2.  # a position outside every map: no sample, no gradient
# What the lists of a call may take of memory; more boxes are halved. A GPU
# counts kernels, a CPU is faster where the lists are near its caches.
MOST_BYTES, MOST_BYTES_ON_CPU = 2**30, 2**26
_ENTRY_BYTES = 100  # of a bag's entry, the steps to it included


class _Axis(NamedTuple):
    """What the bins of all K boxes sum along one axis, M entries end to end.

    An entry is a pixel where the average is taken (J = 1), a sample between
    two pixels where the largest is (J = 2). On the CPU.
    """
    counts: Tensor  # int64 (K, bins), how many each bin has
    starts: Tensor  # int64 (K, bins), its first one
    boxes: Tensor  # int64 (M, ), whose an entry is
    pixels: Tensor  # int64 (J, M)
    weights: Tensor  # (J, M)
    positions: Tensor  # of the samples, in pixels


class _Bags(NamedTuple):
    """What the N bins of all boxes sum, E entries end to end.

    An entry is a pixel where the average is taken (J = 1), a sample of four
    pixels where the largest is (J = 4).
    """
    starts: Tensor  # int64 (N, ), the first entry of each bin
    bins: Tensor  # int64 (E, ), whose an entry is
    pixels: Tensor  # int64 (E, J), counted over all maps
    weights: Tensor  # (E, J)
    positions: Optional[Tensor]  # (2, E), y and x of the samples


def roi_align_forward(input: Tensor, rois: Tensor, output: Tensor,
                      argmax_y: Tensor, argmax_x: Tensor,
                      aligned_height: int, aligned_width: int,
                      spatial_scale: float, sampling_ratio: int,
                      pool_mode: int, aligned: bool) -> None:
    """RoIAlign of He et al., ICCV 2017; fills ``output`` in place.

    float16 and bfloat16 are computed in float32. A box without samples
    (zero size, ``aligned``, adaptive grid) gives 0. Where torchvision can be
    imported, its operator takes averages.

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
    size = (aligned_height, aligned_width)
    tv = torchvision_ops(input.device.type)
    if tv is not None and pool_mode == _AVERAGE:
        _scaled(rois, maps.dtype, spatial_scale, aligned)
        output.copy_(tv.roi_align(
            maps, rois.detach().to(maps), size,
            float(np.float32(spatial_scale)), sampling_ratio, aligned))
        return
    if pool_mode == _MAX:
        argmax_y.fill_(_NOWHERE)
        argmax_x.fill_(_NOWHERE)
    # The only wait for a GPU. What belongs to a box is so little that the CPU
    # computes it faster than many small kernels would start.
    rois = rois.detach().cpu()
    bags = _bags(rois, maps, size, spatial_scale, sampling_ratio, aligned,
                 pool_mode)
    if bags is None:
        half = len(rois) // 2
        for few in (slice(half), slice(half, None)):
            roi_align_forward(
                input, rois[few], output[few], argmax_y[few], argmax_x[few],
                *size, spatial_scale, sampling_ratio, pool_mode, aligned)
        return
    if not len(bags.pixels):
        output.zero_()
        return
    places, rows = _touched(bags.pixels, maps)
    table = maps.permute(0, 2, 3, 1)[places].reshape(-1, maps.size(1))
    # (K, height, width, C), as the bins are listed
    by_bin = output.permute(0, 2, 3, 1)
    if pool_mode == _AVERAGE:
        pooled = F.embedding_bag(rows[:, 0], table, bags.starts, mode='sum',
                                 per_sample_weights=bags.weights[:, 0])
        by_bin.copy_(pooled.view(by_bin.shape))
        return
    samples = F.embedding_bag(rows, table, mode='sum',
                              per_sample_weights=bags.weights)
    # Mode 2 is the maximum, the first one of equals.
    numbers = torch.arange(len(samples), device=samples.device)
    pooled, _, _, best = torch.embedding_bag(samples, numbers, bags.starts,
                                             False, 2)
    by_bin.copy_(pooled.view(by_bin.shape))
    ends = torch.cat([bags.starts[1:], bags.starts.new_full(
        (1, ), len(samples))])
    empty = (bags.starts == ends)[:, None]
    best = best.clamp(min=0)  # whatever stands there for an empty bag
    for argmax, positions in zip((argmax_y, argmax_x), bags.positions):
        argmax.permute(0, 2, 3, 1).copy_(
            positions[best].masked_fill(empty, _NOWHERE).view(by_bin.shape))


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
    grads = _widened(grad_output)
    tv = torchvision_ops(grad_output.device.type)
    if tv is not None:
        total = torch.zeros_like(_widened(grad_input))
        # The operator is linear: its derivative is the same everywhere.
        with torch.enable_grad():
            pooled = tv.roi_align(
                total.requires_grad_(), rois.detach().to(total), size,
                float(np.float32(spatial_scale)), sampling_ratio, aligned)
            gradient = torch.autograd.grad(pooled, total, grads)[0]
        grad_input += gradient.to(grad_input.dtype)
        return
    rois = rois.detach().cpu()  # as in the forward pass
    bags = _bags(rois, grads.new_empty(()).expand(grad_input.shape), size,
                 spatial_scale, sampling_ratio, aligned, pool_mode)
    if bags is None:
        half = len(rois) // 2
        for few in (slice(half), slice(half, None)):
            roi_align_backward(
                grad_output[few], rois[few], argmax_y, argmax_x, grad_input,
                *size, spatial_scale, sampling_ratio, pool_mode, aligned)
        return
    if not len(bags.pixels):
        return
    places, rows = _touched(bags.pixels, grad_input)
    # The transpose: every pixel is a bag of the bins that it is in.
    rows, order = rows[:, 0].sort(stable=True)
    by_pixel = grad_input.permute(0, 2, 3, 1)
    part = by_pixel[places]
    number = part.numel() // part.size(-1)
    starts = torch.searchsorted(rows, torch.arange(number,
                                                   device=rows.device))
    total = F.embedding_bag(
        bags.bins[order],
        grads.permute(0, 2, 3, 1).reshape(-1, grads.size(1)), starts,
        mode='sum', per_sample_weights=bags.weights[order, 0])
    by_pixel[places] = part + total.view(part.shape).to(part.dtype)


def _widened(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _scaled(rois: Tensor, kind: torch.dtype, scale: float,
            aligned: bool) -> Tuple[Tensor, Tensor]:
    """Upper left corners and sizes in feature pixels, (K, 2) each.

    Raises:
        ValueError: see :func:`roi_align_forward`.
    """
    # mmcv passes the scale as float32.
    corners = rois[:, 1:].detach().to(kind) * float(np.float32(scale))
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


def _bags(rois: Tensor, maps: Tensor, size: Tuple[int, int], scale: float,
          ratio: int, aligned: bool, mode: int) -> Optional[_Bags]:
    """The bags of all bins; None where they would take too much memory.

    Args:
        rois (Tensor): (K, 5), on the CPU.
        maps (Tensor): (B, C, H, W), of which only type, device and shape
            are looked at.

    Raises:
        ValueError: see :func:`roi_align_forward`.
    """
    starts, lengths = _scaled(rois, maps.dtype, scale, aligned)
    if not aligned:  # mmcv then makes every box at least 1 x 1
        lengths = lengths.clamp(min=1)
    x, y = (_axis(starts[:, axis], lengths[:, axis], size[1 - axis], ratio,
                  maps.size(3 - axis), mode) for axis in (0, 1))

    # (N, ): the entries of a bin are the pairs of so many rows and columns.
    shape = (len(rois), *size)
    rows, columns, first_row, first_column = (
        t.expand(shape).flatten() for t in (
            y.counts[:, :, None], x.counts[:, None],
            y.starts[:, :, None], x.starts[:, None]))
    entries = rows * columns
    listed = int(entries.sum())
    each = _ENTRY_BYTES + 4 * (mode == _MAX) * (maps.size(1) + 24)
    most = MOST_BYTES_ON_CPU if maps.device.type == 'cpu' else MOST_BYTES
    if listed * each > most and len(rois) > 1:
        return None
    images = rois[:, 0].long()[y.boxes]
    lines = (images * maps.size(2) + y.pixels) * maps.size(3)
    listed_rows = int(rows.sum())
    bins = torch.stack([rows, columns, first_row, first_column,
                        entries.cumsum(0) - entries])
    bins, lines, pixels, of_lines, of_pixels = (
        t.to(maps.device, non_blocking=True)
        for t in (bins, lines, x.pixels, y.weights, x.weights))

    # Rows of entries first, then the entries of each row.
    rows, columns, first_row, first_column, starts = bins
    bin_of_row, places = _spread(rows, listed_rows)
    line_of_row = first_row.index_select(0, bin_of_row) + places
    row, places = _spread(columns.index_select(0, bin_of_row), listed)
    bin = bin_of_row.index_select(0, row)
    line = line_of_row.index_select(0, row)
    column = first_column.index_select(0, bin) + places
    return _Bags(
        starts, bin,
        (lines.index_select(1, line)[:, None] +
         pixels.index_select(1, column)).flatten(0, 1).T,
        (of_lines.index_select(1, line)[:, None] *
         of_pixels.index_select(1, column)).flatten(0, 1).T,
        None if mode == _AVERAGE else torch.stack([
            y.positions.to(line.device, non_blocking=True)[line],
            x.positions.to(line.device, non_blocking=True)[column]]))


def _axis(first: Tensor, lengths: Tensor, bins: int, ratio: int, size: int,
          mode: int) -> _Axis:
    """What all boxes see along an axis, from where they begin and how long
    they are, in pixels of a map of ``size`` pixels."""
    # 0 as the ratio asks for about one sample per pixel of the map
    steps = lengths / bins
    grids = torch.full_like(steps, ratio) if ratio > 0 else \
        steps.float().ceil().to(steps)
    numbers = torch.arange(bins).to(steps)
    edges = (first[:, None] + numbers * steps[:, None]).flatten()
    steps, grids = steps.repeat_interleave(bins), grids.repeat_interleave(bins)
    counts = grids.long()
    bin, places = _spread(counts, int(counts.sum()))
    grids = grids[bin]
    positions = edges[bin] + (places + 0.5) * steps[bin] / grids
    low, high, fraction, inside = _neighbours(positions, size)
    pixels = torch.stack([low, high])
    weights = torch.stack([1 - fraction, fraction]) * inside
    if mode == _AVERAGE:
        # Samples share pixels: those of a bin are listed once, from the first
        # one to the last, each with the sum of its weights.
        lowest = torch.full_like(counts, size).scatter_reduce_(
            0, bin, low, 'amin')
        highest = torch.full_like(counts, -1).scatter_reduce_(
            0, bin, high, 'amax')
        counts = (highest - lowest + 1).clamp(min=0)
        places = pixels + (counts.cumsum(0) - counts - lowest)[bin]
        total = int(counts.sum())
        weights = weights.new_zeros(1, total).index_add_(
            1, places.flatten(), (weights / grids).view(1, -1))
        bin, places = _spread(counts, total)
        pixels = (lowest[bin] + places)[None]
    return _Axis(*(t.view(-1, bins)
                   for t in (counts, counts.cumsum(0) - counts)),
                 bin // bins, pixels, weights, positions)


def _spread(counts: Tensor, total: int) -> Tuple[Tensor, Tensor]:
    """Which list an entry is of, and its number there, where lists of so many
    entries lie end to end; int64 (total, ) each."""
    # repeat_interleave, by a sum that counts the lists that have ended
    ends = counts.cumsum(0)
    owners = ends.new_zeros(total + 1).index_add_(
        0, ends, torch.ones_like(ends)).cumsum(0)[:total]
    numbers = torch.arange(total, device=ends.device)
    return owners, numbers - (ends - counts).index_select(0, owners)


def _touched(pixels: Tensor, maps: Tensor) -> Tuple[Tuple, Tensor]:
    """Which pixels of the maps are worked on, and the number of each of
    ``pixels`` among them.

    Returns:
        tuple: what picks from (B, H, W) maps, and int64 of the shape of
        ``pixels``.
    """
    # A GPU moves whole maps faster than it could tell what it needs of them,
    # and those of one channel (masks) or whose channels are last stay.
    if pixels.device.type != 'cpu' or \
            maps.permute(0, 2, 3, 1).is_contiguous():
        return (slice(None), ) * 3, pixels
    height, width = maps.shape[2:]
    touched, rows = pixels.unique(return_inverse=True)
    lines = touched // width
    return (lines // height, lines % height, touched % width), rows


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
