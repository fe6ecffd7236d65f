"""Milliseconds of RoIAlign on CPU: mmal's own beside what it replaced.

    OMP_NUM_THREADS=1 python benchmarks/roi_align.py [--boxes 10 100 1000]

The rival takes one box after another, each by two matrix products of its
crop. Both run in this process on the same boxes, in turns, forward and
backward, and must agree to float32's rounding. torchvision joins in where it
is installed. The maps have 256 channels; the boxes:

- small: what a feature pyramid gives its largest map, of stride 4;
- middle: the same of its map of stride 16;
- whole: as large as the image, on a single map of stride 16.
"""
import argparse
import sys
import time
from typing import Callable, Dict, Optional, Tuple

import torch
from torch import Tensor

import mmal  # noqa: F401  before mmcv.ops
from mmal.compat import roi_align as own
from mmal.compat.torchvision_ops import torchvision_ops

BINS, IMAGE = 7, (800, 1344)
# Stride of the map, smallest and largest side of a box.
DATA = dict(small=(4, 20, 112), middle=(16, 150, 450), whole=(16, 800, 1344))


def axis(start: float, length: float, size: int) -> Tuple[Tensor, slice]:
    """(bins, pixels), how much each pixel counts in the bins of a box, and
    which pixels these are."""
    step = length / BINS
    grid = max(1, -int(-step // 1))
    positions = start + torch.arange(BINS * grid).add(.5) * step / grid
    inside = (positions >= -1) & (positions <= size)
    positions = positions.clamp(0, size - 1)
    low = positions.long()
    high = (low + 1).clamp(max=size - 1)
    first, stop = int(low.min()), int(high.max()) + 1
    matrix = torch.zeros(len(positions), stop - first)
    matrix.scatter_add_(1, (low - first)[:, None],
                        ((1 - (positions - low)) * inside)[:, None])
    matrix.scatter_add_(1, (high - first)[:, None],
                        ((positions - low) * inside)[:, None])
    return matrix.view(BINS, grid, -1).mean(1), slice(first, stop)


def by_box(maps: Tensor, boxes: Tensor, stride: int,
           grads: Optional[Tensor] = None) -> Tensor:
    """The rival: exact, too, but box by box; the derivative where ``grads``
    are given."""
    boxes = boxes / stride - .5
    out = torch.zeros(len(boxes), maps.size(1), BINS, BINS) \
        if grads is None else torch.zeros_like(maps)
    for number, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        y, rows = axis(y1, y2 - y1, maps.size(2))
        x, columns = axis(x1, x2 - x1, maps.size(3))
        if grads is None:
            out[number] = y @ maps[0, :, rows, columns] @ x.T
        else:
            out[0, :, rows, columns] += y.T @ grads[number] @ x
    return out


def by_bags(maps: Tensor, boxes: Tensor, stride: int,
            grads: Optional[Tensor] = None) -> Tensor:
    """mmal's own, also where torchvision would do the work."""
    torchvision = own.torchvision_ops
    own.torchvision_ops = lambda device_type: None
    rois = torch.cat([boxes.new_zeros(len(boxes), 1), boxes], 1)
    options = BINS, BINS, 1 / stride, 0, 1, True
    none = boxes.new_zeros(0)
    try:
        if grads is None:
            out = maps.new_zeros(len(boxes), maps.size(1), BINS, BINS)
            own.roi_align_forward(maps, rois, out, none, none, *options)
        else:
            out = torch.zeros_like(maps)
            own.roi_align_backward(grads, rois, none, none, out, *options)
    finally:
        own.torchvision_ops = torchvision
    return out


def by_torchvision(maps: Tensor, boxes: Tensor, stride: int,
                   grads: Optional[Tensor] = None) -> Tensor:
    """torchvision's, whose derivative takes a forward pass as well."""
    maps = maps.detach().requires_grad_(grads is not None)
    out = torchvision_ops('cpu').roi_align(maps, [boxes], BINS, 1 / stride,
                                           -1, True)
    return out if grads is None else torch.autograd.grad(out, maps, grads)[0]


def rivals() -> Dict[str, Callable]:
    """Every implementation that is installed, mmal's first."""
    functions = {'mmal': by_bags, 'by box': by_box}
    if torchvision_ops('cpu') is not None:
        functions['torchvision'] = by_torchvision
    return functions


def make(data: str, number: int, channels: int) -> Tuple[Tensor, Tensor, int]:
    """A map, boxes in the image, and the stride."""
    stride, smallest, largest = DATA[data]
    generator = torch.Generator().manual_seed(0)
    height, width = (side // stride for side in IMAGE)
    maps = torch.randn(1, channels, height, width, generator=generator)
    image = torch.tensor([float(IMAGE[1]), float(IMAGE[0])])
    random = torch.rand(number, 4, generator=generator)
    sizes = torch.minimum(smallest + (largest - smallest) * random[:, 2:],
                          image)
    corners = random[:, :2] * (image - sizes)
    return maps, torch.cat([corners, corners + sizes], 1), stride


def measure(*arguments: object,
            seconds: float) -> Dict[str, Tuple[Tensor, float]]:
    """What each returns, and the fewest seconds of its calls, in turns.

    Each is called twice at least, and again while ``seconds`` are left.
    """
    results: Dict[str, Tensor] = {}
    fewest = dict.fromkeys(rivals(), float('inf'))
    begin, calls = time.perf_counter(), 0
    while calls < 2 or time.perf_counter() - begin < seconds:
        for name, function in rivals().items():
            start = time.perf_counter()
            results[name] = function(*arguments)
            fewest[name] = min(fewest[name], time.perf_counter() - start)
        calls += 1
    return {name: (results[name], fewest[name]) for name in fewest}


def main(argv: Optional[list] = None) -> int:
    """Print one line for each kind and number of boxes and direction.

    Returns:
        int: 1 where mmal and the rival differ, else 0.
    """
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--boxes', type=int, nargs='+',
                        default=[1, 10, 100, 1000])
    parser.add_argument('--data', nargs='+', choices=DATA, default=[*DATA])
    parser.add_argument('--channels', type=int, default=256)
    parser.add_argument('--seconds', type=float, default=2.,
                        help='to measure each line, two calls at least')
    options = parser.parse_args(argv)
    status = 0
    print(f'{"data":<8} {"boxes":>6} {"direction":>9}',
          *(f'{name:>12}' for name in rivals()), f'{"ratio":>6}')
    for data in options.data:
        for number in options.boxes:
            arguments = make(data, number, options.channels)
            grads = torch.randn(number, options.channels, BINS, BINS)
            for direction in (None, grads):
                results = measure(*arguments, direction,
                                  seconds=options.seconds)
                (mine, best), (wanted, fewest) = [*results.values()][:2]
                differ = not torch.allclose(mine, wanted, rtol=1e-3,
                                            atol=1e-3)
                status |= differ
                print(f'{data:<8} {number:>6}',
                      f'{"forward" if direction is None else "backward":>9}',
                      *(f'{1000 * spent:>12.2f}'
                        for _, spent in results.values()),
                      f'{fewest / best:>6.1f}',
                      *['  they differ'] * differ, flush=True)
    return status


if __name__ == '__main__':
    sys.exit(main())
