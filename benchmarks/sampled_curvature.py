"""Influences where some positions of each image stand for all in the Hessian.

For the detector of the last round of each run s_test is computed with the
exact Gauss-Newton matrix of all labelled images, and with cheaper ones:

- a few positions of each image and layer (``hessian_positions``), drawn anew
  for each of --draws;
- all positions of a tenth of the images (``hessian_images``), drawn anew too;
- all positions, but 20 steps of conjugate gradients;
- no curvature at all (Gradient Similarity).

The unlabelled images are then ranked by each. Compared with the exact ranking:
Spearman's correlation and the share of the top --top in common, mean over runs
and draws ± standard deviation, and the worst. Seconds are those of s_test
without the reference gradient, beside one forward pass over the labelled
images.

    for seed in 0 1 2; do
        python tools/al_train.py configs/al/fcos_isal_digits.py \\
            --work-dir work_dirs/seed$seed --cfg-options \\
            active_learning.seed=$seed active_learning.rounds=1 \\
            active_learning.initial.size=240
    done
    python benchmarks/sampled_curvature.py work_dirs/seed?
"""
import argparse
import copy
import time
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import torch
from mmdet.utils import register_all_modules
from mmengine.logging import MMLogger
from precision import splits_of
from scipy.stats import spearmanr
from tqdm import tqdm

from mmal.analysis.finished_round import FinishedRound, find_round
from mmal.compat.malloc import keep_freed_memory
from mmal.influence import image_products
from mmal.models.utils.evaluation_mode import evaluation_mode
from mmal.scoring import InfluenceScorer, ScoringData

EXACT = 'all positions'
POSITIONS = (1, 4, 16, 64, 256)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('runs', nargs='+', help='work folders')
    parser.add_argument('--draws', type=int, default=3)
    parser.add_argument('--top', type=int, default=60)
    parser.add_argument('--images', type=int,
                        help='so many unlabelled images instead of all')
    return parser.parse_args()


class Timed(InfluenceScorer):
    """Notes how long the solver took."""

    def prepare(self, model, data):
        solve = self.solver.solve

        def timed(*args):
            start = time.perf_counter()
            found = solve(*args)
            self.seconds = time.perf_counter() - start
            return found

        self.solver.solve = timed
        super().prepare(model, data)


def variants(labelled: int) -> dict:
    """Name -> options of the scorer, and whether it is drawn."""
    return {
        EXACT: ({}, False),
        **{f'{n} positions': (dict(hessian_positions=n), True)
           for n in POSITIONS},
        'a tenth of the images': (
            dict(hessian_images=labelled // 10), True),
        'CG, 20 steps': (dict(solver=dict(
            type='mmal.ConjugateGradient', max_iters=20)), False),
        'no curvature': (dict(solver=dict(type='mmal.Identity')), False),
    }


def compare(this: FinishedRound, args: argparse.Namespace) -> dict:
    """Variant -> [draws, 3]: Spearman, share of the top, seconds."""
    model, _ = this.model()
    splits = splits_of(this.run_config(), this.labelled().ids, args.images)

    def data_of(seed):
        return ScoringData(copy.deepcopy(splits), seed=seed, batch_size=8,
                           num_workers=0, progress=False)

    vectors, seconds = [], []
    names = [(name, options, draw)
             for name, (options, drawn) in variants(
                 len(splits['labelled'].ids)).items()
             for draw in range(args.draws if drawn else 1)]
    with evaluation_mode(model), redirect_stdout(StringIO()):
        for _, options, draw in tqdm(names, f'{this.run} s_test'):
            scorer = Timed(empty='background', **options)
            scorer.prepare(model, data_of(draw))
            vectors.append(scorer.s_test)
            seconds.append(scorer.seconds)
        data, scores = data_of(0), []
        for batch in tqdm(data.batches('unlabelled', model), 'pool'):
            with scorer.recorder:
                outputs = scorer.adapter.forward(batch)
                losses, *_ = scorer.adapter.expected_losses(
                    outputs, batch.samples, scorer.rule)
            scores.append(image_products(
                losses, scorer.recorder, vectors).detach())
            scorer.recorder.clear()
        forward = time.perf_counter()
        with torch.no_grad():
            for batch in data.batches('labelled', model):
                scorer.adapter.forward(batch)
        forward = time.perf_counter() - forward
    scores = torch.cat(scores).T.double().cpu().numpy()
    top = [set(np.argsort(-s)[:args.top]) for s in scores]
    found: dict = {'forward': forward, 'images': scores.shape[1],
                   'labelled': len(splits['labelled'].ids)}
    for (name, _, _), score, best, took in zip(names, scores, top, seconds):
        found.setdefault(name, []).append(
            (spearmanr(score, scores[0])[0], len(best & top[0]) / args.top,
             took))
    return found


def main() -> None:
    args = parse_args()
    keep_freed_memory()
    register_all_modules(init_default_scope=False)
    MMLogger.get_instance('sampled', log_level='ERROR')
    runs = [compare(find_round(run), args) for run in args.runs]
    first = runs[0]
    print(f'{len(runs)} runs, {first["labelled"]} labelled and '
          f'{first["images"]} unlabelled images; a forward pass over the '
          f'labelled ones {np.mean([r["forward"] for r in runs]):.1f} s\n')
    print(f'{"Hessian":24s} {"Spearman":>15s} {"worst":>6s} '
          f'{f"top {args.top}":>15s} {"worst":>6s} {"seconds":>8s}')
    for name in variants(first['labelled']):
        each = np.array([draw for run in runs for draw in run[name]])
        (rank, share, took), (rank_std, share_std, _) = \
            each.mean(0), each.std(0)
        print(f'{name:24s} {rank:7.3f} ± {rank_std:5.3f} '
              f'{each[:, 0].min():6.3f} {share:7.1%} ± {share_std:5.1%} '
              f'{each[:, 1].min():6.1%} {took:8.2f}')


if __name__ == '__main__':
    main()
