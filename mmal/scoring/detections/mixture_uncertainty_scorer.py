"""The score of mixture density networks: standardised uncertainties."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mmal.registry import TASK_UTILS
from mmal.scoring.base import BaseScorer
from mmal.scoring.batch import Batch
from mmal.scoring.data import ScoringData
from mmal.scoring.dense.probabilities import class_entropy
from mmal.scoring.detector import class_boxes, dummy_batch, final_head
from mmal.scoring.options import check_choice, check_score_thr
from mmal.uncertainty import image_moments, pooled_moments
from .predict import confident, detect, padded

# Uncertainty: the field of the detections it is read from.
FIELDS = {
    'box_aleatoric': 'box_aleatoric',
    'box_epistemic': 'box_epistemic',
    'cls_aleatoric': 'cls_aleatoric',
    'cls_epistemic': 'cls_epistemic',
    'cls_entropy': 'class_probs',
}
AGGREGATIONS = {'max': np.max, 'sum': np.sum}


@TASK_UTILS.register_module()
class MixtureUncertaintyScorer(BaseScorer):
    """The largest standardised uncertainty of an image's detections.

    "Deep Active Learning for Object Detection with Mixture Density Networks",
    section 3.2. Each uncertainty of a detection is standardised with its mean
    and population standard deviation over all detections of the pool; an
    image has the maximum over its detections, then the maximum (or the sum)
    over the uncertainties. The four values of a box are reduced to their
    maximum first. Images without a detection come last.

    Standardising keeps the order, so the maximum of an image can be taken
    before it: an image leaves as columns the number of its ``detections`` and
    for each uncertainty that the head gives, whether chosen or not,
    ``<uncertainty>_max``, ``_mean`` and ``_m2`` (the sum of squared
    deviations). One pass over the pool, with one forward pass per image.

    Args:
        uncertainties (sequence[str]): Of 'box_aleatoric', 'box_epistemic',
            'cls_aleatoric', 'cls_epistemic' (the paper's four) and
            'cls_entropy', the entropy of the class probabilities (table 3).
        aggregation (str): 'max' or 'sum' over the uncertainties (table 3).
        score_thr (float): Detections with at least this score count.
    """

    may_be_negative = True

    def __init__(self,
                 uncertainties: Sequence[str] = ('box_aleatoric',
                                                 'box_epistemic',
                                                 'cls_aleatoric',
                                                 'cls_epistemic'),
                 aggregation: str = 'max',
                 score_thr: float = 0.5) -> None:
        if isinstance(uncertainties, str):
            uncertainties = (uncertainties, )
        for name in uncertainties:
            check_choice('uncertainties', name, FIELDS)
        if not uncertainties:
            raise ValueError('active_learning.scorer.uncertainties is empty: '
                             f'name some of {", ".join(FIELDS)}.')
        check_choice('aggregation', aggregation, AGGREGATIONS)
        self.uncertainties = tuple(uncertainties)
        check_score_thr(score_thr)
        self.aggregation = aggregation
        self.score_thr = score_thr

    def check(self, model: nn.Module, data: ScoringData) -> None:
        """Detect on a blank image and see what the head attaches."""
        self._require(model, given_uncertainties(model))

    def prepare(self, model: nn.Module, data: ScoringData) -> None:
        """Find out which columns there will be."""
        self.given = given_uncertainties(model)
        self._require(model, self.given)

    @torch.no_grad()
    def process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Count, maxima and moments of each image's uncertainties, [B], and
        ``class_boxes`` [B, C]."""
        detections = detect(model, batch)
        keep = confident(detections, self.score_thr)
        values = []
        for name in self.given:
            of_name = padded(detections, FIELDS[name])
            if of_name is None:  # no image has a detection
                of_name = torch.zeros_like(keep, dtype=torch.float)
            elif name == 'cls_entropy':
                of_name = class_entropy(of_name,
                                        final_head(model).num_classes)
            elif of_name.dim() == 3:  # of the four numbers of a box
                of_name = of_name.amax(-1)
            values.append(of_name)
        moments = image_moments(torch.stack(values, 1), keep)
        columns = dict(
            detections=keep.sum(1),
            class_boxes=class_boxes(detections,
                                    final_head(model).num_classes))
        for kind, column in moments.items():
            names = (f'{name}_{kind}' for name in self.given)
            columns.update(zip(names, column.unbind(1)))
        return columns

    def compute(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """Standardise the maxima and aggregate them, float64 [N]."""
        count = columns.get('detections', np.zeros(0))
        seen = count > 0
        scores = np.full(len(count), -np.inf)
        if seen.any():
            mean, m2, largest = (
                np.stack([columns[f'{u}_{kind}'][seen]
                          for u in self.uncertainties], 1)
                for kind in ('mean', 'm2', 'max'))
            mean, std = (
                x.numpy() for x in pooled_moments(count[seen], mean, m2))
            # A single Gaussian has no epistemic uncertainty: a column of
            # zeros would be the maximum of all images that are below the mean
            # elsewhere, so columns that do not vary are left out.
            varying = std > 0
            z = np.zeros_like(largest)
            if varying.any():
                z = (largest - mean)[:, varying] / std[varying]
            scores[seen] = AGGREGATIONS[self.aggregation](z, axis=1)
        return scores

    def _require(self, model: nn.Module, given: Sequence[str]) -> None:
        missing = [u for u in self.uncertainties if u not in given]
        if missing:
            raise ValueError(
                'active_learning.scorer.uncertainties has '
                f'{", ".join(missing)}, but the detections of '
                f'{type(final_head(model)).__name__} carry '
                f'{", ".join(given) or "no uncertainty"}: choose of these, '
                'use a head of mixtures (mmal.MDNSSDHead, mmal.MDNFCOSHead, '
                'mmal.MDNShared2FCBBoxHead), or another '
                'active_learning.scorer.')


def given_uncertainties(model: nn.Module) -> tuple[str, ...]:
    """Which uncertainties a detector's detections carry.

    Args:
        model (nn.Module): An mmdet detector; it looks at a blank image.

    Returns:
        tuple[str]: Some keys of :data:`FIELDS`.
    """
    detections = detect(model, dummy_batch(model, box=False))[0]
    return tuple(name for name, field in FIELDS.items()
                 if field in detections)
