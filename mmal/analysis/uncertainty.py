"""What the uncertainties of a run's detectors choose, and what moves them.

"Deep Active Learning for Object Detection with Mixture Density Networks",
tables 6 and 7, for any run with a head of mixtures.
"""
from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Optional

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import nn

from mmal.engine.dataset_config import innermost_dataset
from mmal.engine.round_config import test_pipeline
from mmal.engine.settings import Settings
from mmal.evaluation import (
    Detections,
    highest,
    overlap_matrix,
    uncertainty_shift,
)
from mmal.models.utils.evaluation_mode import full_precision
from mmal.reporting import PlainTable, overlap_table, shift_table
from mmal.scoring import ScoringData, Split, noisy_pipeline
from mmal.scoring.detections.mixture_uncertainty_scorer import (
    given_uncertainties,
)
from mmal.scoring.detections.predict import detect
from mmal.types import ImageId
from .finished_round import (
    FinishedRound,
    find_round,
    rounds_of,
    trained_rounds,
)

UNCERTAINTIES = ('box_aleatoric', 'box_epistemic', 'cls_aleatoric',
                 'cls_epistemic')


def selection_overlap(run: str,
                      number: Optional[int] = None,
                      n: Optional[int] = None) -> PlainTable:
    """Table 6: which images each uncertainty alone would have chosen.

    An uncertainty chooses the images with the largest value of a detection,
    read from the columns ``<uncertainty>_max`` of ``scores.npz``; no model
    is run.

    Args:
        run (str): The work folder of a run with ``MixtureUncertaintyScorer``.
        number (int, optional): The round. Default: the last with a query.
        n (int, optional): How many images. Default: the run's budget.

    Returns:
        PlainTable: Percent of the images that two uncertainties share.

    Raises:
        FileNotFoundError: If there is no such run, round or query.
        ValueError: If the scores have no such columns, or ``n`` is not
            between 1 and the images of the pool.
    """
    if number is None:
        queries = [n for n in rounds_of(run) if FinishedRound(run,
                                                              n).selected()]
        if not queries:
            raise FileNotFoundError(f'no round of {run} has made a query yet: '
                                    'there are no scores to compare.')
        number = queries[-1]
    this = find_round(run, number)
    scores = this.scores()
    names = [u for u in UNCERTAINTIES if f'{u}_max' in scores.columns]
    if not names:
        raise ValueError(
            f'{this.folder.scores} has no uncertainties but the columns '
            f'{", ".join(scores.columns) or "(none)"}: make the run with '
            "scorer=dict(type='mmal.MixtureUncertaintyScorer').")
    if n is None:
        budget = Settings.from_config(this.run_config()).budget
        # a budget in boxes: as many images as it came to
        n = budget.size if budget.unit == 'images' else \
            len(this.selected())
        n = min(n, len(scores))
    if not 1 <= n <= len(scores):
        raise ValueError(f'cannot choose {n} images of the {len(scores)} in '
                         f'{this.folder.scores}: give 1 to {len(scores)}.')
    columns = [scores.columns[f'{u}_max'] for u in names]
    chosen = [highest(c, n, scores.tiebreak) for c in columns]
    title = (f'Images chosen by both, percent of {n:,} (round {this.number}, '
             f'pool of {len(scores):,}; {100 * n / len(scores):.0f} by chance)'
             )
    # an image without detections has -inf in every column
    seen = int(np.isfinite(columns[0]).sum())
    if seen < n:
        title += (f'; only {seen:,} images have detections, the others are '
                  'the same for all')
    return overlap_table(names, overlap_matrix(chosen), title)


@dataclass(frozen=True)
class ShiftAnalysis:
    """Table 7 for the detectors of a run.

    Detections of one class that overlap enough count as the same object; the
    tables average over the objects that both sides found. The uncertainty of
    a box is the largest of its four.

    Args:
        score_thr (float): Detections with at least this score count.
        iou_thr (float): The lowest IoU of two that are the same object.
        seed (int): Of the noise.
        progress (bool): Whether there are progress bars.
    """
    score_thr: float = 0.5
    iou_thr: float = 0.5
    seed: int = 0
    progress: bool = True

    def by_data(self, first: FinishedRound,
                second: FinishedRound) -> PlainTable:
        """Table 7a: two rounds on the validation images.

        Raises:
            FileNotFoundError, ValueError: If a round has no detector, or its
                detections carry no uncertainty.
        """
        sides = [self._side(this) for this in (first, second)]
        names = [u for u in sides[0].names if u in sides[1].names]
        detections = [
            self._detect(side, 'val', names, f'round {this.number}')
            for side, this in zip(sides, (first, second))
        ]
        labels = tuple(f'round {this.number}, '
                       f'{len(this.labelled().ids):,} images'
                       for this in (first, second))
        shift = uncertainty_shift(*detections, self.iou_thr)
        return shift_table(names, shift, labels, 'More training data')

    def by_noise(self, this: FinishedRound, variance: float) -> PlainTable:
        """Table 7b: validation images as they are and with Gaussian noise.

        Args:
            this (FinishedRound): Whose detector.
            variance (float): See :class:`mmal.scoring.GaussianNoise`.

        Raises:
            FileNotFoundError, ValueError: See :meth:`by_data`.
        """
        side = self._side(this, variance)
        detections = [
            self._detect(side, split, side.names, split)
            for split in ('val', 'noisy')
        ]
        shift = uncertainty_shift(*detections, self.iou_thr)
        return shift_table(side.names, shift, ('original', 'noisy'),
                           f'Noise N(0, {variance:g}), round {this.number}')

    def _side(self, this: FinishedRound,
              variance: Optional[float] = None) -> _Side:
        """The detector of a round and what it detects on."""
        model, cfg = this.model()
        names = [u for u in given_uncertainties(model) if u in UNCERTAINTIES]
        if not names:
            raise ValueError(
                f'the detections of the {type(model).__name__} in '
                f'{this.folder.path} carry no uncertainty: its head must be '
                'of mixtures (mmal.MDNSSDHead, mmal.MDNShared2FCBBoxHead).')
        if not cfg.get('val_dataloader'):
            raise ValueError(f'{cfg.filename} has no val_dataloader: there '
                             'are no images to compare detections on.')
        dataset = innermost_dataset(cfg.val_dataloader.dataset)
        pipelines = dict(val=test_pipeline(cfg))
        if variance is not None:
            pipelines['noisy'] = noisy_pipeline(pipelines['val'], variance,
                                                self.seed)
        splits = {
            name: Split(dict(dataset, pipeline=pipeline), labels=False)
            for name, pipeline in pipelines.items()
        }
        data = ScoringData(
            splits,
            progress=self.progress,
            **Settings.from_config(cfg).score_dataloader.to_dict())
        # read now, where what pycocotools prints can be kept from the table
        with redirect_stdout(io.StringIO()):
            for split in splits:
                data.ids(split)
        return _Side(model, data, names)

    @torch.no_grad()
    def _detect(self, side: _Side, split: str, names: Sequence[str],
                desc: str) -> dict[ImageId, Detections]:
        """Detections of at least the score, by image id."""
        by_image = {}
        with full_precision():
            for batch in side.data.batches(split, side.model, desc=desc):
                for image_id, instances in zip(batch.ids,
                                               detect(side.model, batch)):
                    instances = instances[instances.scores >= self.score_thr]
                    by_image[image_id] = Detections(
                        boxes=instances.bboxes.double().cpu().numpy(),
                        labels=instances.labels.cpu().numpy(),
                        uncertainties=reduced(instances, names))
        # in one order for both sides, whatever the batches were
        return {i: by_image[i] for i in side.data.ids(split)}


def shift_tables(analysis: ShiftAnalysis,
                 run: str,
                 rounds: Optional[Sequence[int]] = None,
                 variance: float = 0.01) -> list[PlainTable]:
    """Both tables for a run.

    Args:
        analysis (ShiftAnalysis): What counts.
        run (str): The work folder of the run.
        rounds (sequence[int], optional): Two rounds. Default: the first and
            the last one trained; with only one, table 7a is left out.
        variance (float): Of the noise; 0 leaves table 7b out.

    Raises:
        FileNotFoundError, ValueError: See :meth:`ShiftAnalysis.by_data`.
    """
    if rounds is None:
        trained = trained_rounds(run)
        rounds = sorted({trained[0], trained[-1]})
    finished = [find_round(run, number) for number in rounds]
    tables = [analysis.by_data(*finished)] if len(finished) > 1 else []
    if variance:
        tables.append(analysis.by_noise(finished[-1], variance))
    if not tables:
        raise ValueError(f'{run} has one trained round and --noise is 0: '
                         'there is nothing to compare.')
    return tables


@dataclass(frozen=True)
class _Side:
    """One of the two that are compared."""
    model: nn.Module
    data: ScoringData
    names: list[str]


def reduced(detections: InstanceData, names: Sequence[str]) -> np.ndarray:
    """Uncertainties of n detections, the largest of a box's four.

    Args:
        detections (InstanceData): With the fields ``names``, [n, 4] or [n];
            one without detections need not have them.
        names (sequence[str]): U names.

    Returns:
        np.ndarray: float64 [n, U].
    """
    if not len(detections):
        return np.zeros((0, len(names)))
    columns = [detections[u].double().reshape(len(detections), -1).amax(1)
               for u in names]
    return torch.stack(columns, 1).cpu().numpy()
