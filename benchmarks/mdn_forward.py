"""Parameters and forward time of SSD, MDN-SSD and its rivals.

All take the same images in the same process, in turns, and end with their
detections after NMS (MC-dropout and the ensemble: with the mean entropy of
their members). Tables 4 and 10 of "Deep Active Learning for Object Detection
with Mixture Density Networks" give 1 : 1.5 : 1.5 : 3 : 20. MC-dropout is timed
as the paper runs it, with 25 passes through the whole network, and as
``mmal.DropoutCommittee`` does, whose passes share the backbone's features.

    python benchmarks/mdn_forward.py --batch 1 8
"""
import argparse
import os.path as osp
import statistics
import tempfile
import time
from functools import partial

import torch
from mmengine.config import Config
from rich.console import Console
from rich.table import Table
from torch import nn
from tqdm import tqdm

import mmal  # noqa: F401
from mmal.compat.malloc import keep_freed_memory
from mmal.models.committees import DropoutCommittee, EnsembleCommittee
from mmal.scoring.batch import Batch
from mmal.scoring.dense.entropy_scorer import EntropyScorer
from mmal.scoring.detector import dummy_batch

CONFIG = osp.join(
    osp.dirname(__file__), '..', 'configs', '_base_', 'models',
    'ssd300_vgg16.py')
CANDIDATES = 400
EFFICIENT = dict(type='mmal.MDNSSDHead', cls_variance=False)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batch', type=int, nargs='+', default=[1, 8],
                        help='images a batch')
    parser.add_argument('--classes', type=int, default=20)
    parser.add_argument('--runs', type=int, default=5,
                        help='the median of so many runs is shown')
    parser.add_argument('--passes', type=int, default=25)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--skip-rivals', action='store_true',
                        help='only SSD and the two MDN-SSDs')
    return parser.parse_args()


def build(args, head: dict, neck: str = 'SSDNeck') -> nn.Module:
    """SSD300 with random weights, but as many candidates as a trained one."""
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    register_all_modules(init_default_scope=True)
    cfg = Config.fromfile(CONFIG).model
    cfg.backbone.init_cfg = None
    cfg.neck.type = neck
    cfg.bbox_head.update(dict(head, num_classes=args.classes))
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    model = model.eval().to(args.device)
    _like_a_trained_one(model, images(args, 1))
    return model


@torch.no_grad()
def _like_a_trained_one(model: nn.Module, batch: Batch) -> None:
    """Raise the background until some 400 candidates are left for NMS."""
    head = model.bbox_head
    features = model.extract_feat(batch.inputs)
    metas = [sample.metainfo for sample in batch.samples]
    low, high = 0.0, 30.0
    for _ in range(12):
        middle = (low + high) / 2
        _set_background(head, middle)
        found = head.predict_by_feat(
            *head(features), batch_img_metas=metas, with_nms=False)[0]
        low, high = (middle, high) if len(found) > CANDIDATES else (low,
                                                                    middle)


def _set_background(head: nn.Module, value: float) -> None:
    classes = head.cls_out_channels
    output = getattr(head, 'cls_output', None)
    components = output.components if output else 1
    for level, priors in zip(head.cls_convs, head.num_base_priors):
        bias = level[-1].bias.view(priors, -1)
        bias[:, classes - 1:components * classes:classes] = value


def detect(model: nn.Module, batch: Batch) -> None:
    model.predict(batch.inputs, batch.samples)


class CommitteeScore:
    """The mean entropy of a committee, as its scorer computes it."""

    def __init__(self, committee, model):
        self.model = model
        self.scorer = EntropyScorer()
        self.scorer.committee = committee

    def __call__(self, batch: Batch) -> None:
        self.scorer.process(self.model, batch)


def naive_dropout(model: nn.Module, passes: int, batch: Batch) -> None:
    """T passes through the whole network, as the paper counts them."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.train()
    total = 0
    for _ in range(passes):
        outputs = model.bbox_head(model.extract_feat(batch.inputs))
        probs = torch.cat([
            x.permute(0, 2, 3, 1).flatten(1).unflatten(
                1, (-1, model.bbox_head.cls_out_channels)).softmax(-1)
            for x in outputs[0]
        ], 1)
        total = total + probs
    mean = total / passes
    torch.special.entr(mean).sum(-1).mean(-1)
    model.eval()


def contestants(args) -> dict:
    """Name -> (parameters, callable of a batch)."""
    ssd = build(args, dict(type='mmal.SSDHead'))
    found = dict(SSD=(count(ssd), partial(detect, ssd)))
    for name, head in (('MDN (full, K=4)', dict(type='mmal.MDNSSDHead')),
                       ('MDN (efficient, K=4)', EFFICIENT)):
        model = build(args, head)
        found[name] = (count(model), partial(detect, model))
    if args.skip_rivals:
        return found
    others = [build(args, dict(type='mmal.SSDHead')) for _ in range(2)]
    members = [ssd, *others]
    found['ensemble of 3'] = (sum(map(count, members)),
                              CommitteeScore(ensemble(members), ssd))
    dropout = build(args, dict(type='mmal.SSDHead'), 'mmal.DropoutSSDNeck')
    found[f'MC-dropout, {args.passes} whole passes'] = (
        count(dropout), partial(naive_dropout, dropout, args.passes))
    found[f'MC-dropout, {args.passes} of mmal'] = (
        count(dropout),
        CommitteeScore(DropoutCommittee(passes=args.passes), dropout))
    return found


def count(model: nn.Module) -> float:
    return sum(p.numel() for p in model.parameters()) / 1e6


def ensemble(members: list[nn.Module]) -> EnsembleCommittee:
    """A committee of these detectors, the first one the round's own."""
    committee = EnsembleCommittee(size=len(members))
    with tempfile.TemporaryDirectory() as folder:
        weights = []
        for i, member in enumerate(members[1:]):
            weights.append(osp.join(folder, f'{i}.pth'))
            torch.save(dict(state_dict=member.state_dict()), weights[-1])
        committee.prepare(members[0], weights=weights)
    return committee


@torch.no_grad()
def seconds(call, batch: Batch) -> float:
    start = time.perf_counter()
    call(batch)
    if batch.inputs.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def images(args, size: int) -> Batch:
    """``size`` random images of 300 x 300."""
    one = dummy_batch(torch.nn.Linear(1, 1), 300)
    torch.manual_seed(1)
    inputs = torch.randn(size, 3, 300, 300).to(args.device)
    return Batch(list(range(size)), inputs, one.samples * size)


def measure(args, found: dict, size: int) -> dict[str, float]:
    """Median seconds of each contestant, measured in turns."""
    batch = images(args, size)
    times = {name: [] for name in found}
    for run in tqdm(range(args.runs + 1), desc=f'batch {size}'):
        for name, (_, call) in found.items():
            elapsed = seconds(call, batch)
            if run:  # the first one warms up
                times[name].append(elapsed)
    return {name: statistics.median(t) for name, t in times.items()}


def main() -> None:
    args = parse_args()
    if args.device == 'cpu':
        keep_freed_memory()
    found = contestants(args)
    table = Table(title=f'SSD300, {args.classes} classes, {args.device}, '
                  f'{torch.get_num_threads()} threads, median of {args.runs}')
    table.add_column('detector')
    table.add_column('parameters, M', justify='right')
    columns = {}
    for size in args.batch:
        columns[size] = measure(args, found, size)
        table.add_column(f'batch {size}: ms an image', justify='right')
        table.add_column('ratio', justify='right')
    for name, (parameters, _) in found.items():
        cells = []
        for size, times in columns.items():
            cells.append(f'{times[name] / size * 1e3:.1f}')
            cells.append(f'{times[name] / times["SSD"]:.2f}')
        table.add_row(name, f'{parameters:.3f}', *cells)
    Console(width=110).print(table)


if __name__ == '__main__':
    main()
