"""Solvers of s_test on a finished round: time, residual, ranking of the pool.

    python benchmarks/solvers.py CONFIG work_dirs/fcos_isal_digits/round_00

Every solver scores the same unlabelled images with the same checkpoint. The
reference is conjugate gradients run to a residual of 1e-6.
"""
import argparse
import copy
import time

import numpy as np
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

import mmal  # noqa: F401  before mmdet: it supplies missing operators
from mmal.engine.round_config import scoring_splits
from mmal.engine.settings import Settings
from mmal.pool.layout import RoundDir
from mmal.scoring import InfluenceScorer, ScoringData, score_pool

CG = 'mmal.ConjugateGradient'
SOLVERS = {
    'CG, converged': dict(type=CG, max_iters=3000, tol=1e-6),
    'CG, 100 steps': dict(type=CG, max_iters=100),
    'CG, 20 steps': dict(type=CG, max_iters=20),
    'blocks (default)': dict(type='mmal.DefaultSolver'),
    'LiSSA, 4 repeats': dict(type='mmal.LiSSA', repeats=4),
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


def score(cfg, folder, model, splits, solver):
    options = dict(cfg.active_learning.scorer, solver=solver)
    options.pop('type')
    scorer = Recorded(**options)
    data = ScoringData(splits, num_workers=0, progress=False)
    start = time.perf_counter()
    values = score_pool(model, scorer, data).values
    return values, scorer.solution, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='a config with an InfluenceScorer')
    parser.add_argument('round', help='folder of a round that was queried')
    parser.add_argument('--top', type=int, default=40, help='budget')
    args = parser.parse_args()
    register_all_modules()
    cfg = Config.fromfile(args.config)
    folder = RoundDir(args.round)
    model = MODELS.build(copy.deepcopy(cfg.model))
    load_checkpoint(model, folder.latest_checkpoint(), map_location='cpu')
    splits = scoring_splits(cfg, Settings.from_config(cfg), folder, [])
    runs = {
        name: score(cfg, folder, model.eval(), splits, solver)
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
