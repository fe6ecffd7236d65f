"""MUS-CDB: uncertain detections, those of rare classes above all."""
from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor, nn

from mmal.registry import TASK_UTILS
from mmal.scoring.base import BaseScorer
from mmal.scoring.batch import Batch
from mmal.scoring.data import ScoringData
from mmal.scoring.dense.aggregation import aggregate
from mmal.scoring.detector import class_boxes, final_head
from mmal.scoring.options import check_score_thr
from .predict import (
    by_class,
    check_detections,
    confident,
    detect,
    detection_entropy,
    padded,
)


@TASK_UTILS.register_module()
class ClassBalanceScorer(BaseScorer):
    r"""Entropies of detections, weighted by how rare their classes are.

    Liang et al., "MUS-CDB: Mixed Uncertainty Sampling with Class Distribution
    Balancing for Active Annotation in Aerial Object Detection", 2023. The
    paper asks people for single objects; here whole images are chosen, so
    the score of an image is the sum over its detections i

    .. math:: (1 - \bar p) \sum_i w_{c_i} H_i

    :math:`\bar p` is the mean score of the image's detections, and H the
    entropy of a detection, as of
    :class:`~mmal.scoring.DetectionEntropyScorer`: their product is the
    uncertainty of objects in the code that its authors published. There each
    class has the share of the budget that the softmax of :math:`1 - n_c / n`
    gives it, for :math:`n_c` of n labelled boxes; here this, times the number
    of classes, is the weight w, 1 in the mean. An image without a detection
    comes last. ``class_scores`` [num_classes] are the same sum over the
    detections of each class without w, ``-inf`` where there is none:
    ``mmal.RoundRobin`` keeps quotas by them.

    Works with every one- and two-stage detector. Cost: one forward pass.

    Args:
        score_thr (float): Detections with at least this score count; the
            published code's is 0.05.

    Raises:
        ValueError: If it is no score.
    """

    needs_labels = True
    gives_class_scores = True

    def __init__(self, score_thr: float = 0.05) -> None:
        check_score_thr(score_thr)
        self.score_thr = score_thr
        self._weights: Optional[Tensor] = None

    def check(self, model: nn.Module, data: ScoringData) -> None:
        """Detect on a blank image."""
        check_detections(model)

    def prepare(self, model: nn.Module, data: ScoringData) -> None:
        """Weight the classes by the labelled boxes."""
        counts = torch.from_numpy(data.class_counts('labelled')[0]).sum(0)
        share = counts.double() / counts.sum().clamp(min=1)
        self._weights = (1 - share).softmax(0) * len(share)

    @torch.no_grad()
    def process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Score one batch.

        Returns:
            dict[str, Tensor]: ``score`` [B], ``class_scores`` and
            ``class_boxes`` [B, num_classes] and the number of ``detections``
            [B].
        """
        classes = final_head(model).num_classes
        detections = detect(model, batch)
        keep = confident(detections, self.score_thr)
        labels = padded(detections, 'labels', 0).long()
        # inf where no detection counts, and so none of its values below
        unsure = 1 - aggregate(padded(detections, 'scores'), 'mean', keep)
        values = detection_entropy(detections, classes).double() * \
            unsure[:, None]
        weights = self._weights.to(values.device)[labels]
        of_class = by_class(detections, keep, classes)
        return dict(
            score=aggregate(weights * values, 'sum', keep),
            class_scores=aggregate(
                values[:, None].expand(of_class.shape), 'sum', of_class),
            detections=keep.sum(1),
            class_boxes=class_boxes(detections, classes))
