"""What each scorer's choice is worth, and how sure that is.

The detector of a round scores the images that the round left unlabelled. Each
scorer's images are taken, best first, until --boxes boxes are drawn; what they
are worth is the sum of their true influences, those of their true labels
(OracleInfluenceScorer). It is given in standard deviations of the same sum for
random choices, above their mean: random has 0 ± 1 on each model. The last
columns are the mean over models and its standard error, and how many images
the boxes came from.

True influence takes the place of retraining, with which it agrees to a
correlation of 0.97 (benchmarks/influence.py); whether it pays to follow it is
asked by whole runs (docs/influence.md).

    for seed in 0 1 2; do
        python tools/al_train.py configs/al/fcos_random_digits.py \\
            --work-dir work_dirs/seed$seed --cfg-options \\
            active_learning.seed=$seed active_learning.rounds=2 \\
            active_learning.budget.unit=boxes active_learning.budget.size=150
    done
    python benchmarks/lift.py work_dirs/seed? --round 0 1
"""
import argparse
import copy
import json
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
from mmdet.utils import register_all_modules
from mmengine.logging import MMLogger
from precision import splits_of
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from mmal.analysis.finished_round import FinishedRound
from mmal.compat.malloc import keep_freed_memory
from mmal.pool import load_coco
from mmal.scoring import (
    CalibratedInfluenceScorer,
    InfluenceScorer,
    OracleInfluenceScorer,
    ScoringData,
    score_pool,
)

TRUE = 'true labels'
PER = ', per expected box'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('runs', nargs='+', help='work folders')
    parser.add_argument('--round', type=int, nargs='+', default=[0],
                        help='of these rounds of each run')
    parser.add_argument('--boxes', type=int, default=150)
    parser.add_argument('--draws', type=int, default=2000,
                        help='random choices to compare with')
    parser.add_argument('--json', help='where all numbers go')
    return parser.parse_args()


def scorers() -> dict:
    """Name -> scorer of what is seen without labels."""
    return {
        'InfluenceScorer': InfluenceScorer(),
        "InfluenceScorer, normalizer='image'": InfluenceScorer(
            normalizer='image'),
        'CalibratedInfluenceScorer': CalibratedInfluenceScorer(),
        'Gradient Similarity': InfluenceScorer(
            solver=dict(type='mmal.Identity')),
    }


def bought(values: np.ndarray, boxes: np.ndarray, budget: int) -> np.ndarray:
    """The images, best first, that a number of boxes pays for.

    Args:
        values (np.ndarray): [N], the larger the better.
        boxes (np.ndarray): [N].
        budget (int): How many boxes at most.
    """
    order = np.argsort(-values, kind='stable')
    return order[np.cumsum(boxes[order]) <= budget]


def lift(values: np.ndarray, worth: np.ndarray, boxes: np.ndarray,
         budget: int, draws: int) -> tuple[float, int]:
    """What a choice is worth, in deviations of random ones above their mean,
    and of how many images it is."""
    generator = np.random.default_rng(0)
    by_chance = [
        worth[bought(generator.random(len(worth)), boxes, budget)].sum()
        for _ in range(draws)]
    mine = bought(values, boxes, budget)
    deviations = (worth[mine].sum() - np.mean(by_chance)) / np.std(by_chance)
    return float(deviations), len(mine)


def compare(this: FinishedRound, args: argparse.Namespace) -> dict:
    """Name -> lift and number of images, of one detector."""
    with redirect_stdout(StringIO()):  # pycocotools
        model, _ = this.model()
        splits = splits_of(this.run_config(), this.labelled().ids, None)
    ann_file = splits['unlabelled'].dataset['ann_file']
    coco = load_coco(ann_file)

    def scores_of(scorer):
        data = ScoringData(copy.deepcopy(splits), num_workers=0,
                           progress=False)
        with redirect_stdout(StringIO()):
            return score_pool(model, scorer, data)

    truth = scores_of(OracleInfluenceScorer(ann_file))
    boxes = np.array([len(coco.annotations.get(i, ())) for i in truth.ids])
    rows = {TRUE: truth.values,
            f'{TRUE}, per box': truth.values / np.maximum(boxes, 1)}
    for name, scorer in tqdm(scorers().items(),
                             f'{this.run}, round {this.number}'):
        scores = scores_of(scorer)
        expected = np.maximum(scores.columns['expected_boxes'], 1)
        rows[name] = scores.values
        rows[name + PER] = scores.values / expected
    return {name: lift(values, truth.values, boxes, args.boxes, args.draws)
            for name, values in rows.items()}


def main() -> None:
    args = parse_args()
    keep_freed_memory()
    register_all_modules(init_default_scope=False)
    MMLogger.get_instance('lift', log_level='ERROR')
    models = [(run, n) for run in args.runs for n in args.round]
    cases = [compare(FinishedRound(run, n), args) for run, n in models]
    table = Table(title=f'worth of about {args.boxes} boxes, in deviations '
                  'above random')
    table.add_column('scorer', no_wrap=True)
    for column in (*map(str, range(1, len(models) + 1)), 'mean', '± error',
                   'images'):
        table.add_column(column, justify='right', no_wrap=True)
    for name in cases[0]:
        lifts, images = np.array([case[name] for case in cases]).T
        error = f'{lifts.std(ddof=1) / len(lifts)**0.5:.2f}' \
            if len(lifts) > 1 else '–'
        table.add_row(name, *(f'{x:+.1f}' for x in lifts),
                      f'{lifts.mean():+.2f}', error, f'{images.mean():.0f}')
    console = Console(width=80 + 7 * len(models))
    console.print(table)
    for number, (run, n) in enumerate(models, 1):
        console.print(f'model {number}: {run}, round {n}')
    if args.json:
        with open(args.json, 'w') as f:
            json.dump(dict(options=vars(args), models=models, cases=cases), f,
                      indent=1)


if __name__ == '__main__':
    main()
