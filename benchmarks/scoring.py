"""Scoring a pool with MixtureUncertaintyScorer against plain inference.

Both sides look at the same images with the same model: plain inference calls
``model.predict`` on each batch, scoring gives each image its columns and then
the pool its scores. Loading and preparing images, the same for both, is left
out, which makes the ratio the least favourable one. Batches take turns, so
that a busy machine slows both down.

    python benchmarks/scoring.py
    python benchmarks/scoring.py --config configs/mdn/ssd300_mdn_voc07.py

Without a checkpoint the weights are random, and the model's score_thr is set
to let --candidates boxes an image through to the suppression.
"""
import argparse
import logging
import os.path as osp
import statistics
import time

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint

import mmal  # noqa: F401
from mmal.compat.malloc import keep_freed_memory
from mmal.models.utils.per_image import head_outputs
from mmal.scoring import MixtureUncertaintyScorer
from mmal.scoring.batch import Batch
from mmal.scoring.dense.probabilities import class_probabilities
from mmal.scoring.detector import dummy_batch

CONFIG = osp.join(
    osp.dirname(__file__), '..', 'configs', '_base_', 'models',
    'ssd300_vgg16.py')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', default=CONFIG,
                        help='file with an SSD; a plain one gets mixtures')
    parser.add_argument('--checkpoint', help='weights; random without')
    parser.add_argument('--batch', type=int, nargs='+', default=[1, 8],
                        help='images a batch')
    parser.add_argument('--images', type=int, default=16,
                        help='images of the pool')
    parser.add_argument('--candidates', type=int, default=400,
                        help='boxes an image above score_thr, before NMS')
    parser.add_argument('--runs', type=int, default=7,
                        help='the median of so many runs is shown')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--default-malloc', action='store_true',
                        help="keep glibc's settings, unlike the tools")
    return parser.parse_args()


def build(args: argparse.Namespace) -> torch.nn.Module:
    """The config's detector, with a head of mixtures if it has none."""
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    register_all_modules(init_default_scope=True)
    cfg = Config.fromfile(args.config).model
    cfg.backbone.init_cfg = None
    if cfg.bbox_head.type in ('SSDHead', 'mmal.SSDHead'):
        cfg.bbox_head.type = 'mmal.MDNSSDHead'
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    if args.checkpoint:
        load_checkpoint(model, args.checkpoint, map_location='cpu')
    else:
        model.init_weights()
        spread(model.bbox_head)
    return model.eval().to(args.device)


@torch.no_grad()
def spread(head: torch.nn.Module) -> None:
    """Random last layers whose outputs differ between anchors."""
    for conv in head.modules():
        if isinstance(conv, torch.nn.Conv2d):
            conv.weight.normal_(std=conv.weight[0].numel()**-0.5)


@torch.no_grad()
def limit_candidates(model: torch.nn.Module, pool: list[Batch],
                     number: int) -> None:
    """Let a detector with random weights find as much as a trained one."""
    scores = torch.cat([
        class_probabilities(model, head_outputs(model, b.inputs)).flatten()
        for b in pool
    ])
    kept = number * sum(map(len, pool))
    model.bbox_head.test_cfg.score_thr = float(scores.topk(kept).values[-1])


def random_pool(model: torch.nn.Module, args: argparse.Namespace,
                size: int) -> list[Batch]:
    """Random images in batches of ``size``."""
    one = dummy_batch(model, box=False)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(
        (args.images, *one.inputs.shape[1:]), generator=generator)
    return [
        Batch(list(range(start, start + len(part))), part,
              [one.samples[0].new() for _ in part])
        for start, part in zip(range(0, args.images, size),
                               images.to(args.device).split(size))
    ]


class Comparison:
    """Both sides over a pool, batch by batch in turns."""

    def __init__(self, model: torch.nn.Module, pool: list[Batch]) -> None:
        self.model = model
        self.pool = pool
        self.scorer = MixtureUncertaintyScorer(score_thr=0.0)
        self.scorer.prepare(model, None)

    @torch.no_grad()
    def run(self) -> tuple[float, float, np.ndarray]:
        """Seconds of inference and of scoring, and the pool's columns."""
        plain, scoring, rows = 0.0, 0.0, []
        for batch in self.pool:
            start = self.now()
            self.model.predict(batch.inputs, batch.samples, rescale=False)
            middle = self.now()
            rows.append(self.scorer.process(self.model, batch))
            plain += middle - start
            scoring += self.now() - middle
        start = self.now()
        columns = {
            name: torch.cat([row[name] for row in rows]).cpu().numpy()
            for name in rows[0]
        }
        self.scorer.compute(columns)
        return plain, scoring + self.now() - start, columns['detections']

    def now(self) -> float:
        if self.pool[0].inputs.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter()


def main() -> None:
    args = parse_args()
    if not args.default_malloc:
        keep_freed_memory()
    logging.disable(logging.INFO)  # of each layer's first weights
    model = build(args)
    if not args.checkpoint:
        limit_candidates(model, random_pool(model, args, 1), args.candidates)
    print(f'{type(model.bbox_head).__name__}, {args.images} images, '
          f'{torch.get_num_threads()} threads, {args.device}, median of '
          f'{args.runs} runs, ms an image\n')
    print(f'{"batch":>5}{"detections an image":>21}{"inference":>11}'
          f'{"scoring":>9}{"ratio":>7}')
    for size in args.batch:
        comparison = Comparison(model, random_pool(model, args, size))
        comparison.run()  # warm up
        runs = [comparison.run() for _ in range(args.runs)]
        plain, scoring = (
            statistics.median(r[i] for r in runs) * 1e3 / args.images
            for i in range(2))
        ratio = statistics.median(r[1] / r[0] for r in runs)
        print(f'{size:5}{runs[0][2].mean():21.1f}{plain:11.2f}'
              f'{scoring:9.2f}{ratio:7.3f}')


if __name__ == '__main__':
    main()
