"""How far detections move when noise is added to the image."""
from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from mmdet.models import DetDataPreprocessor
from torch import Tensor, nn

from mmal.registry import TASK_UTILS
from mmal.scoring.base import BaseScorer
from mmal.scoring.batch import Batch
from mmal.scoring.data import ScoringData
from mmal.scoring.detector import class_boxes, final_head
from mmal.scoring.options import check_score_thr
from mmal.uncertainty import best_overlap, masked_max
from .noise import noisy_batch
from .predict import check_detections, confident, detect, padded

_KEY = 'active_learning.scorer'
LEVELS = (8, 16, 24, 32, 40, 48)


@TASK_UTILS.register_module()
class LocalizationStabilityScorer(BaseScorer):
    r"""The less stable an image's boxes under noise, the higher.

    Kao, Lee, Sen and Liu, "Localization-Aware Active Learning for Object
    Detection", ACCV 2018. Each detection j of the image has in each of T
    noisy copies the detection that overlaps it most. Its stability
    :math:`S_j` is the mean of the T IoUs, 0 where nothing overlaps; that of
    the image is :math:`S = \sum_j p_j S_j / \sum_j p_j` with the scores
    :math:`p_j`. The score is

    .. math:: 1 - S + w \max_j (1 - p_j)

    which with w = 0 is the paper's "LS" and with w = 1 its "LS+C". An image
    without a detection comes last. Classes of the boxes do not matter.

    The noise is added to the pixels that the detector sees, after resizing,
    and depends on (seed, round, image id, position among the levels). Works
    with every one- and two-stage detector.

    Cost: 1 + T forward passes an image.

    Args:
        levels (sequence[float]): T standard deviations of the noise, for
            pixels from 0 to 255. Default: the paper's.
        score_thr (float): Detections of the clean image with at least this
            score count; 0 counts all that the detector's ``test_cfg`` leaves.
            Those of the noisy copies all count.
        classification_weight (float): w, >= 0.

    Raises:
        ValueError: If a key is none of these.
    """

    def __init__(self,
                 levels: Sequence[float] = LEVELS,
                 score_thr: float = 0.0,
                 classification_weight: float = 0.0) -> None:
        check_score_thr(score_thr)
        numbers = list(levels) if isinstance(levels, (list, tuple)) else []
        if not numbers or not all(0 <= x < math.inf for x in numbers):
            raise ValueError(
                f'{_KEY}.levels is {levels!r}: give one or more standard '
                'deviations of the noise, at least 0, for pixels from 0 to '
                f'255, e.g. {LEVELS}.')
        if not 0 <= classification_weight < math.inf:
            raise ValueError(
                f'{_KEY}.classification_weight is {classification_weight}: '
                "give a number of at least 0; 1 is the paper's LS+C.")
        self.levels = tuple(levels)
        self.score_thr = score_thr
        self.classification_weight = classification_weight
        self._key = (0, 0)

    def check(self, model: nn.Module, data: ScoringData) -> None:
        """Detect on a blank image."""
        check_detections(model)
        preprocessor = getattr(model, 'data_preprocessor', None)
        if not isinstance(preprocessor, DetDataPreprocessor):
            raise ValueError(
                f'{_KEY} is a LocalizationStabilityScorer, which adds noise '
                'to the pixels and needs a DetDataPreprocessor to know their '
                f'normalisation, but the model has a '
                f'{type(preprocessor).__name__}: choose another scorer.')

    def prepare(self, model: nn.Module, data: ScoringData) -> None:
        """Take seed and round of the noise."""
        self._key = (data.seed, data.round)

    @torch.no_grad()
    def process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Score one batch.

        Returns:
            dict[str, Tensor]: ``score``, ``stability`` S, 1 without a
            detection, ``classification``, the largest 1 - p, and the number
            of ``detections``, all [B]; ``class_boxes`` [B, C].
        """
        detections = detect(model, batch)
        boxes = padded(detections, 'bboxes')
        scores = padded(detections, 'scores').double()
        # A box without an area overlaps nothing, not even itself: it would
        # count as unstable whatever the noise does.
        solid = (boxes[..., 2:] > boxes[..., :2]).all(-1)
        keep = confident(detections, self.score_thr) & solid & (scores > 0)

        overlap = boxes.new_zeros(boxes.shape[:-1], dtype=torch.float64)
        for level, std in enumerate(self.levels):
            noisy = noisy_batch(batch, model, std, *self._key, level)
            overlap += best_overlap(boxes,
                                    padded(detect(model, noisy), 'bboxes'))
        # The mean of what each box has moved, weighted with its score; 0
        # where there is no weight.
        moved = 1 - overlap / len(self.levels)
        weights = scores.masked_fill(~keep, 0)
        tiny = torch.finfo(weights.dtype).tiny
        moved = (moved * weights).sum(1) / weights.sum(1).clamp(min=tiny)
        unsure = masked_max(1 - scores, keep).clamp(min=0)
        count = keep.sum(1)
        score = moved + self.classification_weight * unsure
        return dict(
            score=score.masked_fill(count == 0, -math.inf),
            stability=1 - moved,
            classification=unsure,
            detections=count,
            class_boxes=class_boxes(detections,
                                    final_head(model).num_classes))
