"""Entropy of the final detections."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from mmal.registry import TASK_UTILS
from .aggregation import AGGREGATIONS, aggregate
from .base import BaseScorer
from .data import Batch, ScoringData
from .detections import (
    confident,
    detection_entropy,
    detections,
    final_head,
)
from .options import check_choice, check_score_thr


@TASK_UTILS.register_module()
class DetectionEntropyScorer(BaseScorer):
    """How uncertain the classes of an image's final detections are.

    Each detection's entropy in nats is that of its ``class_probs`` where the
    head attaches them (with the background for softmax heads), else the
    binary entropy of its score. Works with every one- and two-stage detector;
    images without a detection come last.

    Args:
        aggregation (str): 'sum', 'mean' or 'max' over the detections.
        score_thr (float): Detections with at least this score count; 0 counts
            all that the detector's ``test_cfg`` leaves.
    """

    def __init__(self,
                 aggregation: str = 'sum',
                 score_thr: float = 0.0) -> None:
        check_choice('aggregation', aggregation, AGGREGATIONS)
        check_score_thr(score_thr)
        self.aggregation = aggregation
        self.score_thr = score_thr

    def check(self, model: nn.Module, data: ScoringData) -> None:
        """See :meth:`BaseScorer.check`."""
        final_head(model)

    @torch.no_grad()
    def process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Scores of a batch and the number of its detections, both [B]."""
        found = detections(model, batch)
        classes = final_head(model).num_classes
        keep = confident(found, self.score_thr)
        entropies = detection_entropy(found, classes)
        return dict(
            score=aggregate(entropies, self.aggregation, keep),
            detections=keep.sum(1))
