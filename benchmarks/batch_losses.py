"""Influence scores of a pool: the losses of a batch in one call, or image by
image.

For the detector of the last round of each run, milliseconds an image of plain
inference (``predict``) and of ``InfluenceScorer.process``, with the losses of
all images of a batch in one call of the head and with a call for each image
and each way that its labels are moved. The three take turns batch by batch, so
that a busy machine slows all of them down; loading is left out. The scores
must agree.

    OMP_NUM_THREADS=1 python benchmarks/batch_losses.py work_dirs/RUN
"""
import argparse
import copy
import statistics
import time
from contextlib import redirect_stdout
from io import StringIO
from unittest import mock

import torch
from mmdet.utils import register_all_modules
from mmengine.logging import MMLogger
from precision import splits_of
from tqdm import tqdm

from mmal.analysis.finished_round import find_round
from mmal.compat.malloc import keep_freed_memory
from mmal.models.utils import per_image
from mmal.models.utils.evaluation_mode import evaluation_mode
from mmal.scoring import InfluenceScorer, ScoringData
from mmal.scoring.isal.adapters import one_stage, two_stage


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('runs', nargs='+', help='work folders')
    parser.add_argument('--batch', type=int, nargs='+', default=[1, 8, 16])
    parser.add_argument('--images', type=int, default=64)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--device', default='cpu')
    return parser.parse_args()


def seconds(model: torch.nn.Module, call) -> tuple:
    """What a call returns, and its time."""
    if next(model.parameters()).is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    found = call()
    if next(model.parameters()).is_cuda:
        torch.cuda.synchronize()
    return found, time.perf_counter() - start


def slowly(scorer: InfluenceScorer, model: torch.nn.Module, batch):
    def no(head):
        return False

    with mock.patch.object(per_image, 'takes_batches', no), \
            mock.patch.object(one_stage, 'takes_batches', no), \
            mock.patch.object(two_stage, 'takes_batches', no):
        return scorer.process(model, batch)


def main() -> None:
    args = parse_args()
    keep_freed_memory()
    register_all_modules(init_default_scope=False)
    MMLogger.get_instance('losses', log_level='ERROR')
    print(f'{args.device}, {torch.get_num_threads()} threads, ms an image, '
          f'median of {args.repeats}\n')
    print(f'{"batch":>5} {"labels an image":>15} {"inference":>9} '
          f'{"image by image":>14} {"batch":>7} {"ratio":>6} '
          f'{"to inference":>12}')
    for run in args.runs:
        this = find_round(run)
        model, _ = this.model()
        model.to(args.device)
        splits = splits_of(this.run_config(), this.labelled().ids,
                           args.images)
        for size in args.batch:
            with evaluation_mode(model), redirect_stdout(StringIO()):
                row = measure(model, splits, size, args)
            labels, plain, by_image, at_once = row
            print(f'{size:5} {labels:15.1f} {plain:9.2f} {by_image:14.2f} '
                  f'{at_once:7.2f} {by_image / at_once:6.2f} '
                  f'{at_once / plain:12.2f}', flush=True)


def measure(model: torch.nn.Module, splits: dict, size: int,
            args: argparse.Namespace) -> tuple:
    """Pseudo-labels an image, and ms an image of the three."""
    data = ScoringData(copy.deepcopy(splits), batch_size=size,
                       num_workers=0, progress=False)
    scorer = InfluenceScorer(empty='background')
    scorer.check(model, data)
    generator = torch.Generator().manual_seed(0)
    scorer.s_test = [
        torch.randn(p.shape, generator=generator).to(p)
        for p in scorer.recorder.params]
    batches = list(data.batches('unlabelled', model))
    images, labels, rows = sum(map(len, batches)), 0, []
    for _ in tqdm(range(args.repeats + 1), f'batches of {size}'):
        total = [0., 0., 0.]
        for batch in batches:
            with torch.no_grad():
                _, plain = seconds(model, lambda b=batch: model.predict(
                    b.inputs, [s.new() for s in b.samples], rescale=False))
            slow, by_image = seconds(
                model, lambda b=batch: slowly(scorer, model, b))
            fast, at_once = seconds(
                model, lambda b=batch: scorer.process(model, b))
            torch.testing.assert_close(fast['score'], slow['score'],
                                       rtol=1e-3, atol=1e-4)
            labels += int(fast['pseudo_labels'].sum())
            for n, took in enumerate((plain, by_image, at_once)):
                total[n] += 1e3 * took / images
        rows.append(total)
    return (labels / images / len(rows),
            *map(statistics.median, zip(*rows[1:])))


if __name__ == '__main__':
    main()
