"""Seconds of NMS on CPU: mmal's stand-in beside a loop over pairs of boxes.

Run: ``OMP_NUM_THREADS=1 python benchmarks/nms.py [--boxes 2000]``. Both run
in this process on the same boxes and must keep the same ones. The compiled
mmcv and torchvision join in where they are installed.
"""
import argparse
import functools
import importlib
import importlib.util
import time
from typing import Callable, Dict, List

import torch

import mmal  # noqa: F401  before mmcv.ops
from mmal.compat.nms import nms
from mmal.compat.ops import has_compiled_ops


def loop_over_pairs(boxes: torch.Tensor, scores: torch.Tensor,
                    iou_threshold: float) -> torch.Tensor:
    """Greedy NMS in plain Python."""
    rows, values = boxes.tolist(), scores.tolist()
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in rows]
    kept: List[int] = []
    for i in sorted(range(len(rows)), key=lambda i: -values[i]):
        a = rows[i]
        for k in kept:
            b = rows[k]
            width = min(a[2], b[2]) - max(a[0], b[0])
            height = min(a[3], b[3]) - max(a[1], b[1])
            if width > 0 and height > 0:
                inter = width * height
                if inter > iou_threshold * (areas[i] + areas[k] - inter):
                    break
        else:
            kept.append(i)
    return torch.tensor(kept)


def rivals() -> Dict[str, Callable]:
    """Every implementation that is installed."""
    found = {'mmal stand-in': nms, 'loop over pairs': loop_over_pairs}
    if has_compiled_ops():
        found['mmcv compiled'] = functools.partial(
            importlib.import_module('mmcv._ext').nms, offset=0)
    if importlib.util.find_spec('torchvision'):
        try:
            found['torchvision'] = importlib.import_module(
                'torchvision.ops').nms
        except (ImportError, RuntimeError) as error:
            print(f'torchvision cannot be used: {error}')
    return found


def seconds(function: Callable, *arguments: object) -> float:
    """Fastest of three calls."""
    best = float('inf')
    for _ in range(3):
        start = time.perf_counter()
        function(*arguments)
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    """Print one table: boxes kept and seconds, by crowdedness."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--boxes', type=int, default=2000)
    parser.add_argument('--iou', type=float, default=0.5)
    options = parser.parse_args()
    print(f'{"image side":>10} {"who":<16} {"kept":>6} {"seconds":>9}')
    for side in (100, 400, 4000):
        generator = torch.Generator().manual_seed(0)
        boxes = torch.rand(options.boxes, 4, generator=generator) * side
        boxes[:, 2:] = boxes[:, :2] + 10 + boxes[:, 2:] / side * 60
        scores = torch.rand(options.boxes, generator=generator)
        wanted = set(nms(boxes, scores, options.iou).tolist())
        for name, function in rivals().items():
            kept = set(function(boxes, scores, options.iou).tolist())
            spent = seconds(function, boxes, scores, options.iou)
            note = '' if kept == wanted else \
                f'  differs in {len(kept ^ wanted)} boxes'
            print(f'{side:>10} {name:<16} {len(kept):>6} {spent:>9.4f}'
                  f'{note}')


if __name__ == '__main__':
    main()
