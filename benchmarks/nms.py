"""Milliseconds of NMS on CPU: mmal's own beside what it replaced.

    OMP_NUM_THREADS=1 python benchmarks/nms.py [--boxes 100 1000 50000]

The rival compares every box with all that are left, 256 at a time. Both run
in this process on the same boxes, in turns, and must keep the same ones in
the same order. The compiled mmcv and torchvision join in where they are
installed. The boxes:

- scattered: anywhere, and few overlap;
- crowded: anywhere in a small image, and most overlap;
- objects: 50 boxes around each of N / 50 objects of one class;
- classes: the same of 80 classes, shifted apart as mmcv's batched_nms does;
- pile: all around one object.
"""
import argparse
import functools
import importlib
import sys
import time
from typing import Callable, Dict, Optional, Tuple

import torch
from torch import Tensor

import mmal  # noqa: F401  before mmcv.ops
from mmal.compat import nms as own
from mmal.compat.ops import has_compiled_ops
from mmal.compat.torchvision_ops import torchvision_ops

BLOCK = 256


def dense_blocks(boxes: Tensor, scores: Tensor,
                 iou_threshold: float) -> Tensor:
    """The rival: exact, too, but it computes the IoUs of all that is left."""
    order = scores.sort(descending=True, stable=True)[1]
    boxes = boxes[order]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    alive, kept = torch.arange(len(boxes)), []
    while len(alive):
        block = alive[:BLOCK]
        low = torch.maximum(boxes[block, None, :2], boxes[alive, :2])
        high = torch.minimum(boxes[block, None, 2:], boxes[alive, 2:])
        sides = (high - low).clamp(min=0)
        inter = sides[..., 0] * sides[..., 1]
        drops = inter / (areas[block, None] + areas[alive] -
                         inter) > iou_threshold
        within = drops[:, :len(block)].triu(1).numpy()
        dropped = torch.zeros(len(block), dtype=torch.bool).numpy()
        for row, drop in enumerate(within):
            if not dropped[row]:
                dropped |= drop
        chosen = ~torch.from_numpy(dropped)
        kept.append(block[chosen])
        survives = ~drops[chosen, len(block):].any(0)
        alive = alive[len(block):][survives]
    return order[torch.cat(kept)]


def mmal_nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """mmal's own NMS, also where torchvision would do the work."""
    torchvision = own.torchvision_ops
    own.torchvision_ops = lambda device_type: None
    try:
        return own.nms(boxes, scores, iou_threshold)
    finally:
        own.torchvision_ops = torchvision


def rivals() -> Dict[str, Callable]:
    """Every implementation that is installed, mmal's first."""
    functions = {'mmal': mmal_nms, 'dense blocks': dense_blocks}
    if has_compiled_ops():
        functions['mmcv compiled'] = functools.partial(
            importlib.import_module('mmcv._ext').nms, offset=0)
    ops = torchvision_ops('cpu')
    if ops is not None:
        functions['torchvision'] = ops.nms
    return functions


def scattered(number: int, side: float,
              generator: torch.Generator) -> Tensor:
    """Boxes of 10 to 70 pixels, anywhere in a square image."""
    boxes = torch.rand(number, 4, generator=generator)
    corners = boxes[:, :2] * side
    return torch.cat([corners, corners + 10 + boxes[:, 2:] * 60], 1)


def around_objects(number: int, objects: int, classes: int,
                   generator: torch.Generator) -> Tensor:
    """What a detector finds before NMS in an image of 1333 x 800 pixels."""
    image = torch.tensor([1333., 800.])
    centres = torch.rand(objects, 2, generator=generator) * image
    sizes = 20 * torch.rand(objects, 2, generator=generator).mul(2.7).exp()
    names = torch.randint(classes, (objects, ), generator=generator)
    which = torch.randint(objects, (number, ), generator=generator)
    moved = centres[which] + 0.15 * sizes[which] * torch.randn(
        number, 2, generator=generator)
    half = 0.5 * sizes[which] * torch.randn(
        number, 2, generator=generator).mul(0.2).exp()
    boxes = torch.cat([moved - half, moved + half], 1).clamp(min=0)
    boxes = torch.minimum(boxes, image.repeat(2))
    return boxes + (names[which] * (boxes.max() + 1))[:, None]


DATA = {
    'scattered': functools.partial(scattered, side=4000),
    'crowded': functools.partial(scattered, side=200),
    'objects': lambda number, generator: around_objects(
        number, max(1, number // 50), 1, generator),
    'classes': lambda number, generator: around_objects(
        number, max(1, number // 50), 80, generator),
    'pile': lambda number, generator: around_objects(number, 1, 1, generator),
}


def measure(boxes: Tensor, scores: Tensor, iou_threshold: float,
            seconds: float) -> Dict[str, Tuple[Tensor, float]]:
    """What each keeps, and the fewest seconds of its calls, taken in turns.

    Each is called twice at least, and again while ``seconds`` are left.
    """
    kept: Dict[str, Tensor] = {}
    fewest = dict.fromkeys(rivals(), float('inf'))
    begin, calls = time.perf_counter(), 0
    while calls < 2 or time.perf_counter() - begin < seconds:
        for name, function in rivals().items():
            start = time.perf_counter()
            kept[name] = function(boxes, scores, iou_threshold)
            fewest[name] = min(fewest[name], time.perf_counter() - start)
        calls += 1
    return {name: (kept[name], fewest[name]) for name in fewest}


def main(argv: Optional[list] = None) -> int:
    """Print one line for each kind and number of boxes.

    Returns:
        int: 1 where mmal and the rival keep different boxes, else 0.
    """
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--boxes', type=int, nargs='+', default=[
        100, 300, 1000, 2000, 10000, 50000])
    parser.add_argument('--data', nargs='+', choices=DATA, default=[*DATA])
    parser.add_argument('--iou', type=float, default=0.5)
    parser.add_argument('--seconds', type=float, default=2.,
                        help='to measure each line, two calls at least')
    options = parser.parse_args(argv)
    status = 0
    print(f'{"data":<10} {"boxes":>6} {"kept":>6}',
          *(f'{name:>13}' for name in rivals()), f'{"ratio":>6}')
    for data in options.data:
        for number in options.boxes:
            generator = torch.Generator().manual_seed(0)
            boxes = DATA[data](number, generator=generator)
            scores = torch.rand(number, generator=generator)
            results = measure(boxes, scores, options.iou, options.seconds)
            wanted, fewest = results['dense blocks']
            kept, best = results['mmal']
            notes = [f'  {name} keeps others' for name, (other, _) in
                     results.items() if not torch.equal(other, wanted)]
            status |= not torch.equal(kept, wanted)
            print(f'{data:<10} {number:>6} {len(kept):>6}',
                  *(f'{1000 * spent:>13.2f}'
                    for _, spent in results.values()),
                  f'{fewest / best:>6.1f}', *notes, flush=True)
    return status


if __name__ == '__main__':
    sys.exit(main())
