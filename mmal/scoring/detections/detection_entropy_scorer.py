"""Entropy of the final detections."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor, nn

from mmal.registry import TASK_UTILS
from mmal.scoring.base import BaseScorer
from mmal.scoring.batch import Batch
from mmal.scoring.data import ScoringData
from mmal.scoring.dense.aggregation import AGGREGATIONS, aggregate
from mmal.scoring.detector import class_boxes, final_head
from mmal.scoring.options import (
    check_choice,
    check_class_number,
    check_class_weights,
    check_score_thr,
)
from .predict import (
    by_class,
    check_detections,
    confident,
    detect,
    detection_entropy,
    padded,
)


@TASK_UTILS.register_module()
class DetectionEntropyScorer(BaseScorer):
    """How uncertain the classes of an image's final detections are.

    Each detection's entropy in nats is that of its ``class_probs`` where the
    head attaches them (with the background for softmax heads), else the
    binary entropy of its score. Works with every one- and two-stage detector;
    images without a detection come last. "Det-Ent" of "Scalable Active
    Learning for Object Detection".

    ``class_scores`` [num_classes] are the same over the detections of each
    class, ``-inf`` where there is none.

    Args:
        aggregation (str): 'sum', 'mean' or 'max' over the detections.
        score_thr (float): Detections with at least this score count; 0 counts
            all that the detector's ``test_cfg`` leaves.
        class_weights (sequence[float], optional): The entropy of a detection
            is multiplied by the weight of its class, >= 0; 0 leaves the
            class out.

    Raises:
        ValueError: If a key is none of these.
    """

    gives_class_scores = True

    def __init__(self,
                 aggregation: str = 'sum',
                 score_thr: float = 0.0,
                 class_weights: Optional[Sequence[float]] = None) -> None:
        check_choice('aggregation', aggregation, AGGREGATIONS)
        check_score_thr(score_thr)
        check_class_weights(class_weights)
        self.aggregation = aggregation
        self.score_thr = score_thr
        self.class_weights = class_weights

    def check(self, model: nn.Module, data: ScoringData) -> None:
        """Detect on a blank image."""
        check_class_number(self.class_weights, final_head(model).num_classes)
        check_detections(model)

    @torch.no_grad()
    def process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Score one batch.

        Returns:
            dict[str, Tensor]: ``score`` [B], ``class_scores``
            [B, num_classes], the number of ``detections`` [B] and
            ``class_boxes`` [B, num_classes].
        """
        detections = detect(model, batch)
        classes = final_head(model).num_classes
        keep = confident(detections, self.score_thr)
        entropies = detection_entropy(detections, classes)

        # Weights are of the score alone: the values of each class are kept as
        # they are, for quotas.
        weighted, counted = entropies, keep
        if self.class_weights is not None:
            labels = padded(detections, 'labels', 0).long()
            weights = entropies.new_tensor(self.class_weights)[labels]
            weighted, counted = entropies * weights, keep & (weights > 0)
        score = aggregate(weighted, self.aggregation, counted)

        of_class = by_class(detections, keep, classes)
        class_scores = aggregate(
            entropies[:, None].expand(of_class.shape), self.aggregation,
            of_class)
        return dict(
            score=score, class_scores=class_scores, detections=keep.sum(1),
            class_boxes=class_boxes(detections, classes))
