"""Time of a training step and of inference with and without the branch.

The plain detector, the one with a convBayes branch and the ablations take the
same images in the same process, in turns; a step is the losses, their
gradients and SGD's update, inference ends with the detections after NMS. The
bar of a training step is 1.10 of the plain detector's, of inference 1.

    python benchmarks/bayes_branch.py --size 416 --batch 2 --threads 2

RetinaNet (or any other config, with its head of this package):

    python benchmarks/bayes_branch.py --type mmal.BayesRetinaHead \
        --config configs/al/retinanet_random_coco.py
"""
import argparse
import os.path as osp
import statistics
import time

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from rich.console import Console
from rich.table import Table
from torch import nn
from tqdm import tqdm

import mmal  # noqa: F401
from mmal.compat.malloc import keep_freed_memory
from mmal.scoring.batch import Batch
from mmal.scoring.detector import dummy_batch

CONFIG = osp.join(
    osp.dirname(__file__), '..', 'configs', '_base_', 'models',
    'yolov3_d53.py')
BRANCHES = {
    'plain': None,
    'convBayes, rescaled': dict(),
    'convBayes, not rescaled': dict(rescale=False),
    'additional conv': dict(bayes=False),
    'two convBayes layers': dict(layers=2),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', default=CONFIG)
    parser.add_argument('--type', default='mmal.BayesYOLOV3Head',
                        help='type of the head with a branch')
    parser.add_argument('--size', type=int, default=416,
                        help='height and width in pixels')
    parser.add_argument('--batch', type=int, default=2)
    parser.add_argument('--boxes', type=int, default=4, help='an image')
    parser.add_argument('--runs', type=int, default=9,
                        help='the median of so many is shown')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--ablations', action='store_true',
                        help='time the ablations too')
    return parser.parse_args()


def build(args, branch) -> nn.Module:
    """The detector of the config, with the weights of seed 0."""
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    register_all_modules(init_default_scope=True)
    cfg = Config.fromfile(args.config).model
    cfg.backbone.init_cfg = None
    if branch is not None:
        cfg.bbox_head.update(type=args.type, branch=branch)
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    return model.to(args.device)


def images(args) -> Batch:
    """Random images, each with random boxes."""
    torch.manual_seed(1)
    inputs = torch.randn(args.batch, 3, args.size, args.size)
    samples = []
    for _ in range(args.batch):
        sample = dummy_batch(nn.Linear(1, 1), args.size).samples[0]
        corner = torch.rand(args.boxes, 2) * args.size * 0.6
        side = (0.05 + torch.rand(args.boxes, 2) * 0.3) * args.size
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + side], 1).to(args.device),
            labels=torch.randint(20, (args.boxes, ), device=args.device))
        samples.append(sample)
    return Batch(list(range(args.batch)), inputs.to(args.device), samples)


def train_step(model: nn.Module, batch: Batch) -> None:
    """Losses, gradients, update."""
    losses = model.train().loss(batch.inputs, batch.samples)
    model.parse_losses(losses)[0].backward()
    with torch.no_grad():
        for weight in model.parameters():
            weight.sub_(weight.grad, alpha=1e-9)
            weight.grad = None


@torch.no_grad()
def inference(model: nn.Module, batch: Batch) -> None:
    model.eval().predict(batch.inputs, batch.samples, rescale=False)


def seconds(call, model: nn.Module, batch: Batch) -> float:
    synchronize = torch.cuda.synchronize if batch.inputs.is_cuda else int
    synchronize()
    start = time.perf_counter()
    call(model, batch)
    synchronize()
    return time.perf_counter() - start


def measure(args, models: dict, call) -> dict[str, list]:
    """Seconds of each run, the models in turns; every other turn reversed."""
    batch = images(args)
    times = {name: [] for name in models}
    for run in tqdm(range(args.runs + 1), desc=call.__name__):
        for name in list(models)[::-1 if run % 2 else 1]:
            elapsed = seconds(call, models[name], batch)
            if run:  # the first one warms up
                times[name].append(elapsed)
    return times


def ratio(times: dict[str, list], name: str) -> float:
    """Median over the turns, so that a slow turn of the machine cancels."""
    return statistics.median(
        a / b for a, b in zip(times[name], times['plain']))


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    MMLogger.get_instance('mmengine').setLevel('WARNING')
    if args.device == 'cpu':
        keep_freed_memory()
    names = list(BRANCHES) if args.ablations else list(BRANCHES)[:2]
    models = {name: build(args, BRANCHES[name]) for name in names}
    columns = [measure(args, models, call) for call in (inference, train_step)]
    table = Table(title=f'{args.size} x {args.size}, batch {args.batch}, '
                  f'{args.device}, {args.threads} threads, median of '
                  f'{args.runs}')
    table.add_column('branch')
    for title in ('inference, ms', 'ratio', 'training step, ms', 'ratio'):
        table.add_column(title, justify='right')
    for name in names:
        cells = []
        for times in columns:
            cells.append(f'{statistics.median(times[name]) * 1e3:.1f}')
            cells.append(f'{ratio(times, name):.3f}')
        table.add_row(name, *cells)
    Console(width=100).print(table)


if __name__ == '__main__':
    main()
