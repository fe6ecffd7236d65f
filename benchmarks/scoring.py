"""Scoring a pool against plain inference.

Both sides look at the same images with the same model: plain inference calls
``model.predict`` on each batch, scoring gives each image its columns and then
the pool its scores. Batches take turns, so that a busy machine slows both
down. Two ratios are shown: of the passes alone, which is the least favourable
one, and end to end, with reading the images from JPEG files and preparing
them, the same for both, on either side.

    python benchmarks/scoring.py
    python benchmarks/scoring.py --config configs/mdn/ssd300_mdn_voc07.py
    python benchmarks/scoring.py --scorer influence --size 128 --images 64 \\
        --config configs/_base_/al_tasks/fcos_digits.py --candidates 40
    python benchmarks/scoring.py --scorer influence --size 320 \\
        --config configs/_base_/al_tasks/fcos_coco.py --candidates 300

Without a checkpoint the weights are random, and the model's score_thr is set
to let --candidates scores an image through to the suppression. Of what is
left so many detections become pseudo-labels that an image has --labels of
them in the mean. s_test of the influences is drawn at random: preparing it is
another matter (benchmarks/solvers.py).
"""
import argparse
import logging
import os.path as osp
import statistics
import tempfile
import time
from collections import defaultdict
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from unittest import mock

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint

import mmal  # noqa: F401
from mmal.compat.malloc import keep_freed_memory
from mmal.fileio import write_bytes, write_json
from mmal.models.utils.evaluation_mode import evaluation_mode
from mmal.models.utils.per_image import head_outputs
from mmal.scoring import (
    InfluenceScorer,
    MixtureUncertaintyScorer,
    ScoringData,
)
from mmal.scoring.base import BaseScorer
from mmal.scoring.data import Split
from mmal.scoring.dense.probabilities import class_probabilities
from mmal.scoring.detector import dummy_batch
from mmal.scoring.isal import influence_scorer
from mmal.scoring.isal.adapters import base as adapters

CONFIG = osp.join(
    osp.dirname(__file__), '..', 'configs', '_base_', 'models',
    'ssd300_vgg16.py')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--scorer', choices=('mixture', 'influence'),
                        default='mixture')
    parser.add_argument('--config', default=CONFIG,
                        help='file with a single-stage detector; for the '
                        'mixture a plain SSD gets mixtures')
    parser.add_argument('--checkpoint', help='weights; random without')
    parser.add_argument('--batch', type=int, nargs='+', default=[1, 8],
                        help='images a batch')
    parser.add_argument('--images', type=int, default=16,
                        help='images of the pool')
    parser.add_argument('--size', type=int,
                        help='their height and width; what the detector '
                        'takes when left out')
    parser.add_argument('--candidates', type=int, default=400,
                        help='scores an image above score_thr, before NMS')
    parser.add_argument('--labels', type=float, default=5,
                        help='pseudo-labels an image for the influence')
    parser.add_argument('--runs', type=int, default=7,
                        help='the median of so many runs is shown')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--parts', action='store_true',
                        help='ms an image of the parts of an influence')
    parser.add_argument('--default-malloc', action='store_true',
                        help="keep glibc's settings, unlike the tools")
    return parser.parse_args()


def build(args: argparse.Namespace) -> torch.nn.Module:
    """The config's detector, with a head of mixtures if they are scored."""
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    register_all_modules(init_default_scope=True)
    cfg = Config.fromfile(args.config).model
    cfg.backbone.init_cfg = None
    if args.scorer == 'mixture' and \
            cfg.bbox_head.type in ('SSDHead', 'mmal.SSDHead'):
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
def limit_candidates(model: torch.nn.Module, data: ScoringData,
                     number: int) -> None:
    """Let a detector with random weights find as much as a trained one."""
    scores = torch.cat([
        class_probabilities(model, head_outputs(model, b.inputs)).flatten()
        for b in data.batches('unlabelled', model)
    ])
    kept = number * len(data.ids('unlabelled'))
    model.bbox_head.test_cfg.score_thr = float(scores.topk(kept).values[-1])


@torch.no_grad()
def label_threshold(model: torch.nn.Module, data: ScoringData,
                    number: float) -> float:
    """The score of which images have so many detections in the mean."""
    scores = torch.cat([
        sample.pred_instances.scores
        for b in data.batches('unlabelled', model)
        for sample in model.predict(b.inputs, b.samples, rescale=False)])
    kept = min(len(scores), int(number * len(data.ids('unlabelled'))))
    return float(scores.topk(kept).values[-1])


def write_pool(folder: str, images: int, size: int) -> dict:
    """Blurred noise as JPEG files; the config of their data set."""
    generator, records = np.random.default_rng(1), []
    for n in range(images):
        noise = generator.integers(0, 256, (size // 8, size // 8, 3))
        picture = cv2.resize(noise.astype(np.uint8), (size, size))
        write_bytes(osp.join(folder, 'images', f'{n}.jpg'),
                    cv2.imencode('.jpg', picture)[1].tobytes())
        records.append(dict(id=n, file_name=f'{n}.jpg', width=size,
                            height=size))
    write_json(osp.join(folder, 'pool.json'), dict(
        images=records, annotations=[],
        categories=[dict(id=1, name='thing')]))
    return dict(
        type='CocoDataset', data_root=folder, ann_file='pool.json',
        data_prefix=dict(img='images/'), metainfo=dict(classes=('thing', )),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(size, size), keep_ratio=True),
            dict(type='PackDetInputs', meta_keys=(
                'img_id', 'img_path', 'ori_shape', 'img_shape',
                'scale_factor'))])


def pool_data(dataset: dict, size: int) -> ScoringData:
    """The pool in batches of ``size``, read by this process."""
    data = ScoringData(
        dict(unlabelled=Split(dataset, False), val=Split(dataset, False)),
        batch_size=size, num_workers=0, progress=False)
    with redirect_stdout(StringIO()):  # pycocotools tells what it does
        data.ids('unlabelled')
    return data


def build_scorer(model: torch.nn.Module, data: ScoringData,
                 args: argparse.Namespace) -> BaseScorer:
    """A scorer that is prepared."""
    if args.scorer == 'mixture':
        scorer = MixtureUncertaintyScorer(score_thr=0.0)
        scorer.prepare(model, None)
        return scorer
    threshold = label_threshold(model, data, args.labels)
    scorer = InfluenceScorer(score_thr=threshold, empty='background')
    scorer.check(model, data)
    generator = torch.Generator().manual_seed(0)
    scorer.s_test = [
        torch.randn(p.shape, generator=generator).to(p)
        for p in scorer.recorder.params]
    return scorer


class Comparison:
    """Both sides over a pool, batch by batch in turns."""

    def __init__(self, model: torch.nn.Module, data: ScoringData,
                 scorer: BaseScorer) -> None:
        self.model = model
        self.data = data
        self.scorer = scorer

    def run(self) -> tuple[float, float, float, dict]:
        """Seconds of reading, of inference and of scoring, and columns."""
        reading = plain = scoring = 0.0
        rows = []
        start = self.now()
        for batch in self.data.batches('unlabelled', self.model):
            read = self.now()
            with torch.no_grad():
                self.model.predict(batch.inputs,
                                   [s.new() for s in batch.samples],
                                   rescale=False)
            middle = self.now()
            rows.append({
                name: column.detach() for name, column in
                self.scorer.process(self.model, batch).items()})
            end = self.now()
            reading += read - start
            plain += middle - read
            scoring += end - middle
            start = self.now()
        columns = {
            name: torch.cat([row[name] for row in rows]).cpu().numpy()
            for name in rows[0]
        }
        self.scorer.compute(columns)
        return reading, plain, scoring + self.now() - start, columns

    def now(self) -> float:
        if next(self.model.parameters()).is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter()


@contextmanager
def timed_parts(comparison: Comparison):
    """Inside, seconds of the parts of an influence are added up by name."""
    seconds = defaultdict(float)

    def timed(owner, name):
        function = getattr(owner, name)

        def call(*args, **kwargs):
            start = comparison.now()
            try:
                return function(*args, **kwargs)
            finally:
                seconds[name] += comparison.now() - start
        return mock.patch.object(owner, name, call)

    adapter = comparison.scorer.adapter
    with timed(adapter, 'forward'), timed(adapter, 'predictions'), \
            timed(adapters, 'pseudo_labels'), \
            timed(adapter, 'pseudo_label_losses'), \
            timed(influence_scorer, 'image_products'):
        yield seconds


def main() -> None:
    args = parse_args()
    if not args.default_malloc:
        keep_freed_memory()
    logging.disable(logging.INFO)  # of each layer's first weights
    model = build(args)
    size = args.size or dummy_batch(model).inputs.size(-1)
    print(f'{type(model.bbox_head).__name__}, {args.images} images of '
          f'{size} x {size}, {torch.get_num_threads()} threads, '
          f'{args.device}, median of {args.runs} runs, ms an image\n')
    counts = 'labels' if args.scorer == 'influence' else 'detections'
    print(f'{"batch":>5}{counts + " an image":>21}{"reading":>9}'
          f'{"inference":>11}{"scoring":>9}{"ratio":>7}{"end to end":>12}')
    with tempfile.TemporaryDirectory() as folder, evaluation_mode(model):
        dataset = write_pool(folder, args.images, size)
        if not args.checkpoint:
            limit_candidates(model, pool_data(dataset, 1), args.candidates)
        for batch in args.batch:
            show(model, pool_data(dataset, batch), batch, args)


def show(model: torch.nn.Module, data: ScoringData, batch: int,
         args: argparse.Namespace) -> None:
    """Measure one size of batches."""
    comparison = Comparison(model, data, build_scorer(model, data, args))
    *_, columns = comparison.run()  # warm up
    counts = columns['pseudo_labels' if args.scorer == 'influence' else
                     'detections']
    runs = [comparison.run()[:3] for _ in range(args.runs)]
    reading, plain, scoring = (
        statistics.median(column) * 1e3 / args.images
        for column in zip(*runs))
    ratio = statistics.median(s / p for _, p, s in runs)
    whole = statistics.median((r + s) / (r + p) for r, p, s in runs)
    print(f'{batch:5}{counts.mean():21.1f}{reading:9.2f}{plain:11.2f}'
          f'{scoring:9.2f}{ratio:7.3f}{whole:12.3f}', flush=True)
    if args.parts and args.scorer == 'influence':
        with timed_parts(comparison) as seconds:
            for _ in range(args.runs):
                comparison.run()
        print('     ', ', '.join(
            f'{name} {1e3 * value / args.images / args.runs:.2f}'
            for name, value in seconds.items()))


if __name__ == '__main__':
    main()
