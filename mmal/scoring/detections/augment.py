"""Images changed a little, and where their boxes lie then."""
from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmal.models.committees.preprocessing import statistics
from mmal.random_tensors import TensorStreams
from mmal.randomness import Key
from mmal.scoring.batch import Batch
from .noise import noisy_batch

_HOLES = 2
_TRIES = 50
_HOLE_SIDES = 0.05, 0.2  # of the image's
_HIDDEN = 0.1, 0.4  # of the box that a hole hides most of
_SCALE = 0.8
_DEGREES = 5
_NOISE = 16  # of 255


def augmented(name: str, batch: Batch, boxes: Tensor, keep: Tensor,
              model: nn.Module, *key: Key) -> tuple[Batch, Tensor]:
    """The images as an augmentation of CALD leaves them.

    Yu et al., "Consistency-based Active Learning for Object Detection", with
    the sizes of the code that its authors published: 'flip' from left to
    right; 'cutout', at most two black holes with sides of 5 to 20% of the
    image's, each of which hides 10 to 40% of the box that it hides most of,
    in at most 50 tries; 'downsize' to 80%; 'rotate' by 5 degrees to the left
    around the middle (in the published code the canvas grows along); 'noise'
    with a standard deviation of 16 for pixels from 0 to 255. What is drawn
    depends on the ids and the key alone.

    Args:
        name (str): One of :data:`AUGMENTATIONS`.
        batch (Batch): B images, as the detector sees them.
        boxes (Tensor): [B, n, 4] in these.
        keep (Tensor): bool [B, n], which of them are boxes.
        model (nn.Module): The detector; its ``DetDataPreprocessor`` says how
            images are normalised.
        *key (int | str): What random numbers are for, e.g. seed and round.

    Returns:
        tuple[Batch, Tensor]: New images, and the boxes in them; a box is
        again the smallest around what it was.
    """
    if name == 'noise':
        return noisy_batch(batch, model, _NOISE, *key, name), boxes
    mean, scale = statistics(model.data_preprocessor, batch.inputs)
    black = (0 - mean) / scale
    inputs = torch.zeros_like(batch.inputs)
    moved, samples = boxes.clone(), [s.new() for s in batch.samples]
    by_shape = defaultdict(list)
    for row, sample in enumerate(batch.samples):
        by_shape[tuple(sample.img_shape[:2])].append(row)
    # Of one shape as a rule: a batch has images of one size.
    for (height, width), rows in by_shape.items():
        ids = [batch.ids[n] for n in rows]
        pixels, moved[rows] = _CHANGES[name](
            batch.inputs[rows, :, :height, :width], boxes[rows], keep[rows],
            black, TensorStreams(ids, *key, name))
        shape = tuple(pixels.shape[-2:])
        inputs[rows, :, :shape[0], :shape[1]] = pixels
        for n in rows:
            samples[n].set_metainfo(dict(img_shape=shape))
    return Batch(list(batch.ids), inputs, samples), moved


def _flip(pixels: Tensor, boxes: Tensor, *_) -> tuple[Tensor, Tensor]:
    x1, y1, x2, y2 = boxes.unbind(-1)
    width = pixels.size(-1)
    return pixels.flip(-1), torch.stack([width - x2, y1, width - x1, y2], -1)


def _downsize(pixels: Tensor, boxes: Tensor, *_) -> tuple[Tensor, Tensor]:
    size = [max(1, int(_SCALE * n)) for n in pixels.shape[-2:]]
    small = F.interpolate(pixels, size, mode='bilinear', antialias=True)
    return small, boxes * _SCALE


def _cutout(pixels: Tensor, boxes: Tensor, keep: Tensor, black: Tensor,
            streams: TensorStreams) -> tuple[Tensor, Tensor]:
    height, width = pixels.shape[-2:]
    least, most = _HOLE_SIDES
    extent = boxes.new_tensor([width, height])
    # of each try two sides and two places
    uniform = streams.uniform((_TRIES, 4), boxes.device)
    sides = (least + (most - least) * uniform[..., :2]) * extent
    starts = uniform[..., 2:] * (extent - sides)
    holes = torch.cat([starts, starts + sides], -1).floor()

    a, b = holes[:, :, None], boxes[:, None]
    shared = (torch.minimum(a[..., 2:], b[..., 2:])
              - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    area = (b[..., 2:] - b[..., :2]).clamp(min=0).prod(-1)
    hidden = (shared / area.clamp(min=1e-6)).masked_fill(~keep[:, None], 0)
    hidden = F.pad(hidden, (0, 1)).amax(-1)  # 0 where there is no box
    fits = (hidden >= _HIDDEN[0]) & (hidden <= _HIDDEN[1])
    fits &= fits.cumsum(1) <= _HOLES

    rows = torch.arange(height, device=pixels.device)[:, None]
    columns = torch.arange(width, device=pixels.device)
    # the holes that fit come first; the others hide nothing
    first = fits.to(torch.uint8).sort(
        dim=1, descending=True, stable=True)
    inside = torch.zeros_like(pixels[:, 0], dtype=torch.bool)
    for n in range(_HOLES):
        index = first.indices[:, n, None, None].expand(-1, 1, 4)
        x1, y1, x2, y2 = (
            side[..., None] for side in holes.gather(1, index).unbind(-1))
        inside |= first.values[:, n, None, None].bool() & (
            rows >= y1) & (rows < y2) & (columns >= x1) & (columns < x2)
    return torch.where(inside[:, None], black, pixels), boxes


def _rotate(pixels: Tensor, boxes: Tensor, keep: Tensor, black: Tensor,
            streams: TensorStreams) -> tuple[Tensor, Tensor]:
    height, width = pixels.shape[-2:]
    cos, sin = (f(math.radians(_DEGREES)) for f in (math.cos, math.sin))
    # where each pixel of the new image lies in the old one, -1 to 1
    y, x = torch.meshgrid(
        torch.arange(height, device=pixels.device) + (1 - height) / 2,
        torch.arange(width, device=pixels.device) + (1 - width) / 2,
        indexing='ij')
    grid = torch.stack([(x * cos - y * sin) / (width / 2),
                        (x * sin + y * cos) / (height / 2)], -1).to(pixels)
    # beyond the border there are zeros: black, if black is zero
    turned = black + F.grid_sample(
        pixels - black, grid.expand(len(pixels), -1, -1, -1),
        align_corners=False)

    x1, y1, x2, y2 = boxes.unbind(-1)
    x = torch.stack([x1, x1, x2, x2], -1) - width / 2
    y = torch.stack([y1, y2, y1, y2], -1) - height / 2
    corners_x = (x * cos + y * sin + width / 2).clamp(0, width)
    corners_y = (y * cos - x * sin + height / 2).clamp(0, height)
    return turned, torch.stack([corners_x.amin(-1), corners_y.amin(-1),
                                corners_x.amax(-1), corners_y.amax(-1)], -1)


_CHANGES: dict[str, Callable] = dict(
    flip=_flip, cutout=_cutout, downsize=_downsize, rotate=_rotate)
AUGMENTATIONS = (*_CHANGES, 'noise')
