"""Trains the rows of a table on real photos, and prints it.

    python benchmarks/trainings.py convbayes --data bccd --seeds 0 1 2
    python benchmarks/trainings.py mdn --data neudet --seeds 0 1 2
    python benchmarks/trainings.py retinanet --rows all

Every row is a config of the repository and options; all rows of a seed share
their first weights and batches. A training that has ended is not made again,
so that rows and seeds may be added, and a killed benchmark goes on. The table
has the mean and sample standard deviation over the seeds, and the difference
to the row --against, paired by seed, with its 95% interval.

The table convbayes also has the share of the objectness loss in the loss that
reaches the trunk, over a whole training. A loss that is multiplied shifts that
balance and may help or harm by that alone, so the row "plain, matched" has a
weight with which its share is about convBayes'.

--shrink 2 trains YOLOv3 at half the width and height, anchors included, which
is four times as fast.
"""
import argparse
import itertools
import json
import os
import os.path as osp
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from glob import glob

import numpy as np
from mmengine.config import Config
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from mmal.evaluation.paired import paired_difference

ROOT = osp.normpath(osp.join(osp.dirname(__file__), '..'))
WEIGHT = 'model.bbox_head.loss_conf.loss_weight'
# with these the share of the objectness is about convBayes'
MATCHED = dict(bccd=0.5, neudet=0.57)
BRANCH = 'model.bbox_head.branch.'
RESCALE = BRANCH + 'rescale.'
MEAN = 'model.bbox_head.mean_weight'


def yolo(variant: str = '') -> str:
    return f'configs/convbayes/yolov3-lite0{variant}_{{}}.py'


def ssd(variant: str = '') -> str:
    return f'configs/mdn/ssd300-lite0{variant}_{{}}.py'


def retinanet(name: str) -> str:
    return f'configs/{name}_{{}}.py'


def nll(**options) -> dict:
    """MDN's box loss in place of the default's."""
    options = dict(type='mmal.MixtureNLLLoss', **options)
    return {f'model.bbox_head.loss_bbox.{k}': v for k, v in options.items()}


# name: (config of a data set, options)
CONVBAYES = {
    'plain': (yolo(), {}),
    'plain, matched': (yolo(), {WEIGHT: MATCHED}),
    'focal': (yolo('-focal'), {}),
    'focal, matched': (yolo('-focal'), {WEIGHT: dict(bccd=4.5)}),
    'anchor': (yolo('-anchor'), {}),
    'anchor, matched': (yolo('-anchor'), {WEIGHT: dict(bccd=0.56)}),
    'branch alone': (yolo('-convbayes'), {BRANCH + 'rescale': False}),
    'conv': (yolo('-convbayes'), {BRANCH + 'rescale': False,
                                  BRANCH + 'bayes': False}),
    'convBayes': (yolo('-convbayes'), {}),
    'normalised': (yolo('-convbayes'), {RESCALE + 'normalize': True}),
    'branch trains the trunk': (
        yolo('-convbayes'), {BRANCH + 'detach_input': False}),
    'normalised, branch trains the trunk': (
        yolo('-convbayes'), {RESCALE + 'normalize': True,
                             BRANCH + 'detach_input': False}),
    'λ = 0.1': (yolo('-convbayes'), {BRANCH + 'scale': 0.1}),
    'λ = 1': (yolo('-convbayes'), {BRANCH + 'scale': 1.0}),
    'λ = 100': (yolo('-convbayes'), {BRANCH + 'scale': 100.0}),
    'temperature 1': (yolo('-convbayes'), {RESCALE + 'temperature': 1.0}),
    'two layers': (yolo('-convbayes'), {BRANCH + 'layers': 2}),
    'learned λ': (yolo('-convbayes'), {BRANCH + 'learn_scale': True}),
    'learned λ, divergence': (
        yolo('-convbayes'), {BRANCH + 'learn_scale': True,
                             BRANCH + 'kl_weight': 100.0}),
}
MDN = {
    'SSD': (ssd(), {}),
    'MDN': (ssd('-mdn'), {}),
    'paper': (ssd('-mdn'), {
        MEAN: 0.0, 'model.bbox_head.mining_noise': True,
        **nll(form='paper')}),
    'likelihood': (ssd('-mdn'), {MEAN: 0.0, **nll()}),
    'likelihood, β = 0.5': (ssd('-mdn'), {MEAN: 0.0, **nll(beta=0.5)}),
    'mining by draws': (ssd('-mdn'), {'model.bbox_head.mining_noise': True}),
    'no class variances': (ssd('-mdn'), {'model.bbox_head.cls_variance': False
                                         }),
    'boxes alone': (ssd('-mdn'), {'model.bbox_head.cls_components': 0}),
    'classes alone': (ssd('-mdn'), {'model.bbox_head.box_components': 0}),
}
RETINANET = {
    'RetinaNet': (retinanet('evidential/retinanet-lite0'), {}),
    'Gaussian': (retinanet('mdn_heads/retinanet-lite0-mdn'), {
        'model.bbox_head.box_components': 1,
        'model.bbox_head.cls_components': 1}),
    'mixture': (retinanet('mdn_heads/retinanet-lite0-mdn'), {}),
    'mixture, energy score': (retinanet('mdn_heads/retinanet-lite0-mdn'), {
        'model.bbox_head.loss_nll': dict(type='mmal.MixtureEnergyLoss')}),
    'evidential': (retinanet('evidential/retinanet-lite0-evidential'), {}),
}
TABLES = dict(convbayes=CONVBAYES, mdn=MDN, retinanet=RETINANET)
MAIN_ROWS = dict(
    convbayes=['plain', 'plain, matched', 'convBayes'], mdn=['SSD', 'MDN'],
    retinanet=['RetinaNet', 'mixture'])
METRICS = {
    'AP': 'coco/bbox_mAP', 'AP50': 'coco/bbox_mAP_50',
    'AP75': 'coco/bbox_mAP_75'
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('table', choices=TABLES)
    parser.add_argument('--data', default='bccd',
                        choices=['bccd', 'neudet'])
    parser.add_argument('--rows', nargs='+',
                        help="default: the table's main ones; 'all' for all")
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--against', help='default: the second or first row')
    parser.add_argument('--iters', type=int, help='in place of 400')
    parser.add_argument('--shrink', type=int, default=1)
    parser.add_argument('--jobs', type=int, default=1,
                        help='trainings at a time, each with one thread')
    parser.add_argument('--work-dir',
                        default=osp.join('work_dirs', 'trainings'))
    args = parser.parse_args()
    rows = TABLES[args.table]
    args.rows = args.rows or MAIN_ROWS[args.table]
    if args.rows == ['all']:
        args.rows = list(rows)
    for name in [*args.rows, *filter(None, [args.against])]:
        if name not in rows:
            parser.error(f'no row {name!r}: give {", ".join(rows)}')
    if args.against is None:
        args.against = MAIN_ROWS[args.table][-2]
    if args.table == 'retinanet' and args.data != 'bccd':
        parser.error('the RetinaNets are on bccd alone')
    unmatched = [row for row in args.rows if args.data not in
                 rows[row][1].get(WEIGHT, {args.data: 1.})]
    if unmatched:
        parser.error(f'nobody has looked for the weights of '
                     f'{", ".join(map(repr, unmatched))} on {args.data}: '
                     'leave these rows out')
    if args.shrink > 1 and args.table != 'convbayes':
        parser.error('--shrink is for YOLOv3: SSD300 has a size of its own')
    return args


def main() -> None:
    args = parse_args()
    trainings = list(itertools.product(args.seeds, args.rows))
    with ThreadPoolExecutor(args.jobs) as pool:
        done = pool.map(lambda t: train(args, *t), trainings)
        results = dict(zip(trainings, tqdm(
            done, 'trainings', len(trainings), leave=False)))

    columns = [*METRICS, *['objectness'] * (args.table == 'convbayes')]
    table = Table('', *columns, f'AP − {args.against}')
    for row in args.rows:
        found = [results[seed, row] for seed in args.seeds]
        cells = [spread([r[name] for r in found]) for name in columns]
        table.add_row(row, *cells, difference(args, results, row))
    Console(width=120).print(table)


def folder(args: argparse.Namespace, seed: int, row: str) -> str:
    size = f'_shrink{args.shrink}' if args.shrink > 1 else ''
    iters = f'_{args.iters}' if args.iters else ''
    return osp.join(args.work_dir, f'{args.table}_{args.data}{size}{iters}',
                    row.replace(' ', '_'), f'seed_{seed}')


def train(args: argparse.Namespace, seed: int, row: str) -> dict:
    """One training in a process of its own; its numbers."""
    work_dir = folder(args, seed, row)
    if not osp.isfile(osp.join(work_dir, 'done')):
        path, options = TABLES[args.table][row]
        cfg = Config.fromfile(osp.join(ROOT, path.format(args.data)))
        options = {key: value[args.data] if key == WEIGHT else value
                   for key, value in options.items()}
        cfg.merge_from_dict({
            **options, 'randomness.seed': seed,
            'default_hooks.checkpoint.interval': 10**9})
        if args.iters:
            warm_up, decay = cfg.param_scheduler
            cfg.train_cfg.update(
                max_iters=args.iters, val_interval=args.iters)
            decay.update(end=args.iters, T_max=args.iters - warm_up.end)
        shrink(cfg, args.shrink)
        log = osp.join(work_dir, 'log.txt')
        cfg.work_dir = work_dir
        config = osp.join(work_dir, 'config.py')
        os.makedirs(work_dir, exist_ok=True)
        cfg.dump(config)
        with open(log, 'w') as file:
            code = subprocess.run(
                [sys.executable, osp.join('tools', 'misc', 'run_mmdet.py'),
                 'train', osp.abspath(config), '--work-dir',
                 osp.abspath(work_dir)],
                cwd=ROOT, stdout=file, stderr=subprocess.STDOUT,
                env={**os.environ, 'OMP_NUM_THREADS': '1'}).returncode
        if code:
            raise RuntimeError(f'{row} with seed {seed} failed, see {log}.')
        open(osp.join(work_dir, 'done'), 'w').close()
    return numbers(work_dir)


def numbers(work_dir: str) -> dict:
    """The last AP of a training, and what its losses were on average."""
    paths = sorted(glob(osp.join(work_dir, '*', 'vis_data', 'scalars.json')))
    with open(paths[-1]) as file:
        lines = [json.loads(line) for line in file]
    losses = [r for r in lines if 'loss' in r]
    share = [r.get('loss_conf', 0) / (
        r['loss'] - r.get('loss_branch', 0) - r.get('loss_branch_kl', 0))
        for r in losses]
    last = next(r for r in reversed(lines) if METRICS['AP'] in r)
    return {**{name: last[key] for name, key in METRICS.items()},
            'objectness': float(np.mean(share))}


def shrink(cfg: Config, factor: int) -> None:
    """Smaller images, and the anchors with them."""
    if factor == 1:
        return
    for loader in (cfg.train_dataloader, cfg.val_dataloader,
                   cfg.test_dataloader):
        for step in loader.dataset.pipeline:
            if step.type == 'Resize':
                step.scale = tuple(x // factor for x in step.scale)
    anchors = cfg.model.bbox_head.anchor_generator
    anchors.base_sizes = [[tuple(x / factor for x in size) for size in level]
                          for level in anchors.base_sizes]


def spread(values: list) -> str:
    mean = f'{np.mean(values):.3f}'
    return mean if len(values) == 1 else (
        f'{mean} ± {np.std(values, ddof=1):.3f}')


def difference(args: argparse.Namespace, results: dict, row: str) -> str:
    """Of AP, paired by seed, where the other row was trained."""
    if row == args.against or args.against not in args.rows:
        return ''
    pair = paired_difference(*(
        [results[seed, name]['AP'] for seed in args.seeds]
        for name in (row, args.against)))
    interval = '' if pair.low is None else (
        f' ({pair.low:+.3f} to {pair.high:+.3f})')
    return f'{pair.mean:+.3f}{interval}'


if __name__ == '__main__':
    main()
