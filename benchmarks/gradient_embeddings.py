"""What batches of images are worth, and what projected gradients keep.

The detector of a round scores the images that the round left unlabelled, and
each method chooses --images of them. By its second-order expansion the
reference loss falls, after training the last layers with a batch S, by

    (1 / n) (sum of s_test g_z - 1/2 |sum of e_z|^2),    z in S

with the influences s_test g_z and the products of embeddings e_z that
mmal.GradientEmbeddingScorer gives. The first table has both sums, divided by
n: with pseudo-labels, which methods see, and with the true labels. The last
column is the difference for true labels; random is the mean of --draws
batches.

The second table compares projected gradients with whole ones: the error of
the inner products of any two images, as part of the product of their lengths,
and the images that mmal.BatchInfluence chooses with both.

    python tools/al_train.py configs/al/fcos_random_digits.py \\
        --work-dir work_dirs/random --cfg-options active_learning.rounds=2
    python benchmarks/gradient_embeddings.py work_dirs/random --round 0
"""
import argparse
import copy
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
from mmdet.utils import register_all_modules
from mmengine.logging import MMLogger
from precision import splits_of
from rich.console import Console
from rich.table import Table

from mmal.analysis.finished_round import FinishedRound
from mmal.compat.malloc import keep_freed_memory
from mmal.scores import Scores
from mmal.scoring import (
    GradientEmbeddingScorer,
    OracleInfluenceScorer,
    ScoringData,
    score_pool,
)
from mmal.selection import (
    BatchInfluence,
    CoreSet,
    GradientMatching,
    KMeansPlusPlus,
    TopN,
)

CURVED = dict(reference='val', solver=dict(type='mmal.DefaultSolver'))


class TrueGradients(OracleInfluenceScorer, GradientEmbeddingScorer):
    """Gradients with the labels of the pool."""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('run', help='work folder')
    parser.add_argument('--round', type=int, default=0)
    parser.add_argument('--images', type=int, default=60)
    parser.add_argument('--draws', type=int, default=200)
    parser.add_argument('--inputs', type=int, nargs='*',
                        default=[16, 32, 64, 128, 256],
                        help='of the scorer, for the second table')
    return parser.parse_args()


def fall(scores: Scores, rows: np.ndarray) -> tuple[float, float]:
    """The sum of influences of a batch, and what it takes back."""
    together = scores.embeddings[rows].astype(np.float64).sum(0)
    return float(scores.values[rows].sum()), float(together @ together / 2)


def main() -> None:
    args = parse_args()
    keep_freed_memory()
    register_all_modules(init_default_scope=False)
    MMLogger.get_instance('gradient_embeddings', log_level='ERROR')
    this = FinishedRound(args.run, args.round)
    with redirect_stdout(StringIO()):  # pycocotools
        model, _ = this.model()
        splits = splits_of(this.run_config(), this.labelled().ids, None)

    def scored(scorer) -> Scores:
        data = ScoringData(copy.deepcopy(splits), num_workers=0,
                           progress=False)
        with redirect_stdout(StringIO()):
            return score_pool(model, scorer, data)

    plain = scored(GradientEmbeddingScorer(empty='background'))
    to_val = scored(GradientEmbeddingScorer('val', empty='background'))
    curved = scored(GradientEmbeddingScorer(empty='background', **CURVED))
    truth = scored(TrueGradients(splits['unlabelled'].dataset['ann_file'],
                                 empty='background', **CURVED))

    def chosen(selector, scores: Scores) -> np.ndarray:
        ids = selector.select(scores, args.images, scores.embeddings)
        return np.array([scores.ids.index(i) for i in ids])

    choices = {
        'ISAL (TopN)': chosen(TopN(), curved),
        'BatchInfluence': chosen(BatchInfluence(), curved),
        'GradientMatching': chosen(GradientMatching(), to_val),
        'GradientMatching, steps': chosen(GradientMatching(), curved),
        'BADGE': chosen(KMeansPlusPlus('best', weighted=False), plain),
        'core-set': chosen(CoreSet('random'), plain),
        'true labels, TopN': chosen(TopN(), truth),
        'true labels, BatchInfluence': chosen(BatchInfluence(), truth),
    }
    n = len(this.labelled().ids)
    falls = {name: (*fall(curved, rows), *fall(truth, rows))
             for name, rows in choices.items()}
    generator = np.random.default_rng(0)
    falls['random'] = tuple(np.mean([
        (*fall(curved, rows), *fall(truth, rows)) for rows in (
            generator.choice(len(curved), args.images, replace=False)
            for _ in range(args.draws))], 0))
    table = Table(title=f'fall of the reference loss by {args.images} images')
    table.add_column('method', no_wrap=True)
    for column in ('influences', 'taken back', 'true influences',
                   'taken back', 'left'):
        table.add_column(column, justify='right')
    for name, sums in falls.items():
        table.add_row(name, *(f'{x / n:.3f}' for x in sums),
                      f'{(sums[2] - sums[3]) / n:+.3f}')
    console = Console(width=110)
    console.print(table)
    if not args.inputs:
        return

    whole = scored(GradientEmbeddingScorer(
        empty='background', inputs=None, outputs=None, **CURVED))
    exact = whole.embeddings.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1)
    best = set(chosen(BatchInfluence(), whole))
    table = Table(title=f'products of {len(exact)} images')
    for column in ('inputs', 'numbers of an image', 'error',
                   f'of {args.images} choices in common'):
        table.add_column(column, justify='right')
    for inputs in args.inputs:
        short = scored(GradientEmbeddingScorer(
            empty='background', inputs=inputs, **CURVED))
        rows = short.embeddings.astype(np.float64)
        errors = (rows @ rows.T - exact @ exact.T) / np.outer(lengths,
                                                              lengths)
        between = errors[~np.eye(len(rows), dtype=bool)]
        common = best.intersection(chosen(BatchInfluence(), short))
        table.add_row(str(inputs), f'{rows.shape[1]:,}',
                      f'{np.sqrt(np.square(between).mean()):.3f}',
                      str(len(common)))
    table.add_row('all', f'{exact.shape[1]:,}', '0', str(len(best)))
    console.print(table)


if __name__ == '__main__':
    main()
