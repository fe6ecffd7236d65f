"""Solvers of s_test on a finished round: time, residual, ranking of the pool.

    python benchmarks/solvers.py work_dirs/fcos_isal_digits --round 0

Every solver scores the same unlabelled images with the same checkpoint. The
reference is conjugate gradients run to a residual of 1e-6. LiSSA steps from
batch to batch of --batch-size images; "LiSSA, 4 x 250 steps" with a batch size
of 1 is the paper's, but for damping and scale.
"""
import argparse
import copy
import time

import numpy as np
from mmdet.utils import register_all_modules
from precision import splits_of
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from mmal.analysis.finished_round import find_round
from mmal.scoring import InfluenceScorer, ScoringData, score_pool

CG = 'mmal.ConjugateGradient'
SOLVERS = {
    'CG, converged': dict(type=CG, max_iters=3000, tol=1e-6),
    'CG, 100 steps': dict(type=CG, max_iters=100),
    'CG, 20 steps': dict(type=CG, max_iters=20),
    'blocks (default)': dict(type='mmal.DefaultSolver'),
    'LiSSA, 4 repeats': dict(type='mmal.LiSSA', repeats=4),
    'LiSSA, 4 x 250 steps': dict(type='mmal.LiSSA', repeats=4, depth=250),
    'LiSSA, 1 x 250 steps': dict(type='mmal.LiSSA', repeats=1, depth=250),
    'none (gradient similarity)': dict(type='mmal.Identity'),
}


class Recorded(InfluenceScorer):
    """Keeps what the solver said, and the time it took."""

    def prepare(self, model, data):
        original = self.solver.solve

        def solve(operator, v, progress):
            _ = operator.num_images  # reads the inputs of the layers once
            self.solution = original(operator, v, progress)
            return self.solution

        self.solver.solve = solve
        super().prepare(model, data)


def score(options, model, splits, solver, batch_size):
    scorer = Recorded(**dict(options, solver=solver))
    data = ScoringData(copy.deepcopy(splits), batch_size=batch_size,
                       num_workers=0, progress=False)
    start = time.perf_counter()
    values = score_pool(model, scorer, data).values
    return values, scorer.solution, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('run', help='work folder of a run with ISAL')
    parser.add_argument('--round', type=int, help='default: the last one')
    parser.add_argument('--top', type=int, default=40, help='budget')
    parser.add_argument('--batch-size', type=int, default=8)
    args = parser.parse_args()
    register_all_modules(init_default_scope=False)
    this = find_round(args.run, args.round)
    model, cfg = this.model()
    splits = splits_of(this.run_config(), this.labelled().ids, None)
    options = dict(cfg.active_learning.scorer)
    options.pop('type')
    runs = {
        name: score(options, model, splits, solver, args.batch_size)
        for name, solver in SOLVERS.items()
    }
    Console(width=100).print(table_of(runs, args.top))


def table_of(runs, top):
    table = Table(title='s_test on one checkpoint')
    for name in ('solver', 'steps', 'residual', 'solver s', 'query s',
                 'Spearman', f'top {top} shared'):
        table.add_column(name, justify='right')
    truth = next(iter(runs.values()))[0]
    finite = np.isfinite(truth)
    best = set(np.argsort(-truth)[:top])
    for name, (values, solution, seconds) in runs.items():
        residual = '–' if solution.residual is None else \
            f'{solution.residual:.1e}'
        shared = len(best & set(np.argsort(-values)[:top]))
        table.add_row(
            name, str(solution.iterations), residual,
            f'{solution.seconds:.1f}', f'{seconds:.1f}',
            f'{spearmanr(values[finite], truth[finite])[0]:.3f}', str(shared))
    return table


if __name__ == '__main__':
    main()
