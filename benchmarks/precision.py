"""How much the ranking of a pool depends on the precision of scoring.

The detector of the last round of each run scores the images that this round
left unlabelled: as ``score_precision='fp32'`` does in batches of 8, and with
one thing changed. Compared are the two rankings, by Spearman's correlation and
by the share of the top tenth that they have in common: mean over the runs ±
standard deviation, and the worst. Changing the size of the batches changes
nothing but the order in which float32 is summed.

    for seed in 0 1 2; do
        python tools/al_train.py configs/al/fcos_isal_digits.py \\
            --work-dir work_dirs/seed$seed --cfg-options \\
            active_learning.seed=$seed active_learning.rounds=1 \\
            active_learning.initial.size=240
    done
    python benchmarks/precision.py work_dirs/seed?
"""
import argparse
import copy
import os.path as osp
import time
from contextlib import redirect_stdout
from io import StringIO
from typing import Optional

import numpy as np
import torch
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.logging import MMLogger
from scipy.stats import spearmanr
from tqdm import tqdm

from mmal.analysis.finished_round import FinishedRound, find_round
from mmal.compat.malloc import keep_freed_memory
from mmal.engine.dataset_config import innermost_dataset
from mmal.engine.round_config import test_pipeline
from mmal.engine.settings import Settings, pool_dataset
from mmal.pool import load_coco
from mmal.scores import Scores
from mmal.scoring import (
    EntropyScorer,
    GradScorer,
    InfluenceScorer,
    ScoringData,
    score_pool,
)
from mmal.scoring.data import Split

SCORERS = dict(EntropyScorer=EntropyScorer, GradScorer=GradScorer,
               InfluenceScorer=InfluenceScorer)
BATCH = 8
# What is scored (precision, images of a batch), and what it is compared with.
USUAL = ('fp32', BATCH)
PAIRS = [
    (('fp32', 1), USUAL), (('tf32', BATCH), USUAL), (('bf16', BATCH), USUAL),
    (('bf16', 1), ('bf16', BATCH)),
]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('runs', nargs='+', help='work folders')
    parser.add_argument('--images', type=int,
                        help='so many unlabelled images instead of all')
    return parser.parse_args()


def splits_of(cfg: Config, labelled: list, images: Optional[int]) -> dict:
    """The unlabelled, labelled and validation images of a round.

    Args:
        cfg (Config): That of the run.
        labelled (list): Ids.
        images (int, optional): So many unlabelled ones instead of all.
    """
    pipeline = test_pipeline(cfg)
    pool = pool_dataset(cfg, Settings.from_config(cfg))
    # joined with data_root already
    pool.update(ann_file=osp.abspath(pool['ann_file']), pipeline=pipeline)
    known = set(labelled)
    left = [i for i in load_coco(pool['ann_file']).ids if i not in known]
    val = dict(innermost_dataset(cfg.val_dataloader.dataset),
               pipeline=pipeline)
    return dict(
        unlabelled=Split(pool, False, left[:images]),
        labelled=Split(pool, True, labelled),
        val=Split(val, True))


def rankings(this: FinishedRound, images: Optional[int]) -> dict:
    """Scorer to what is scored to the scores, and the seconds it took."""
    model, _ = this.model()
    splits = splits_of(this.run_config(), this.labelled().ids, images)
    wanted = {USUAL, *(side for pair in pairs() for side in pair)}
    found = {}
    for name, scorer in SCORERS.items():
        for precision, size in tqdm(sorted(wanted), f'{this.run} {name}'):
            data = ScoringData(
                copy.deepcopy(splits), batch_size=size, num_workers=0,
                progress=False, precision=precision)
            start = time.perf_counter()
            with redirect_stdout(StringIO()):  # pycocotools
                scores = score_pool(model, scorer(), data)
            found.setdefault(name, {})[precision, size] = (
                scores, time.perf_counter() - start)
    return found


def pairs() -> list:
    gpu = torch.cuda.is_available()
    return [p for p in PAIRS if gpu or p[0][0] != 'tf32']


def agreement(one: Scores, other: Scores) -> tuple[float, float]:
    """Spearman's correlation, and the share of the top tenth in common."""
    # ranks as a selector makes them; equal scores are drawn, by image id
    places = [np.argsort(np.lexsort((s.tiebreak, s.values)))
              for s in (one, other)]
    top = len(one) - max(1, len(one) // 10)
    first, second = (set(np.flatnonzero(p >= top)) for p in places)
    return spearmanr(*places)[0], len(first & second) / len(first)


def main() -> None:
    args = parse_args()
    keep_freed_memory()
    register_all_modules(init_default_scope=False)
    MMLogger.get_instance('precision', log_level='ERROR')
    runs = [rankings(find_round(run), args.images) for run in args.runs]
    number = len(next(iter(runs[0].values()))[USUAL][0])
    print(f'{len(runs)} runs, {number} images, the top {number // 10} in '
          'common\n')
    print(f'{"scorer":16s} {"":12s} {"against":12s} '
          f'{"Spearman":>17s} {"worst":>7s} {"in common":>14s} {"worst":>6s} '
          f'{"seconds":>8s}')
    for name in SCORERS:
        for pair in pairs():
            each = np.array([
                agreement(*(run[name][side][0] for side in pair))
                for run in runs])
            seconds = np.mean([run[name][pair[0]][1] for run in runs])
            (rank, share), (rank_std, share_std) = each.mean(0), each.std(0)
            print(f'{name:16s} {label(pair[0]):12s} {label(pair[1]):12s} '
                  f'{rank:9.5f} ± {rank_std:.5f} {each[:, 0].min():7.5f} '
                  f'{share:6.1%} ± {share_std:5.1%} {each[:, 1].min():6.1%} '
                  f'{seconds:8.1f}')


def label(side: tuple) -> str:
    return f'{side[0]}, batch {side[1]}'


if __name__ == '__main__':
    main()
