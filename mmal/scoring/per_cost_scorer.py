"""Any scorer's value for what labelling an image is expected to cost."""
from __future__ import annotations

import numpy as np
import torch
from mmdet.models.detectors import SingleStageDetector
from torch import Tensor, nn

from mmal.registry import TASK_UTILS
from .base import BaseScorer
from .batch import Batch
from .data import ScoringData
from .detections.predict import check_detections, detect
from .detector import predictions

_FLAGS = ('needs_images', 'needs_labels', 'needs_committee', 'uses_committee',
          'gives_class_scores', 'may_be_negative', 'needs_embeddings')


@TASK_UTILS.register_module()
class PerCostScorer(BaseScorer):
    """Divides the scores of another scorer by the expected cost of an image.

    The cost is the budget's. With ``unit='boxes'`` an image costs its boxes
    and ``per_image``: expected are as many boxes as the scores of its final
    detections add up to, at least ``least_boxes``. With ``unit='images'``
    all cost the same, and the order does not change.

    A value below 0 is multiplied by the cost, so that of two images that do
    harm the dearer one is the worse one.

    One forward pass an image for both, where the detector has a single stage
    or the scorer counts the boxes itself (column ``expected_boxes``); two
    elsewhere.

    Args:
        scorer (dict): Config of the other scorer.
        least_boxes (float): The fewest boxes that are expected: without it an
            image in which nothing is seen would cost nothing, whatever it is
            worth. Above 0.

    Raises:
        ValueError: ``least_boxes`` is not above 0.
    """

    def __init__(self, scorer: dict, least_boxes: float = 1.0) -> None:
        if not least_boxes > 0:
            raise ValueError('active_learning.scorer.least_boxes is '
                             f'{least_boxes}, must be above 0.')
        self.scorer: BaseScorer = TASK_UTILS.build(scorer)
        self.least_boxes = least_boxes
        self._take_flags()
        self._box_cost, self._image_cost = 0., 1.

    def check(self, model: nn.Module, data: ScoringData) -> None:
        """See :meth:`BaseScorer.check`."""
        self.scorer.check(model, data)
        self._take_flags()  # some depend on the model
        check_detections(model)

    def prepare(self, model: nn.Module, data: ScoringData) -> None:
        """See :meth:`BaseScorer.prepare`."""
        self._box_cost, self._image_cost = data.costs
        self.scorer.prepare(model, data)

    def process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The other scorer's columns, and ``expected_boxes`` and
        ``expected_cost`` [B]."""
        heads = []
        hook = None
        if isinstance(model, SingleStageDetector):
            hook = model.bbox_head.register_forward_hook(
                lambda head, args, outputs: heads.append(outputs))
        try:
            rows = dict(self.scorer.process(model, batch))
        finally:
            if hook is not None:
                hook.remove()
        if 'expected_boxes' not in rows:
            found = predictions(model, heads[0], batch.samples) if heads \
                else detect(model, batch)
            rows['expected_boxes'] = torch.stack(
                [d.scores.sum() for d in found])
        boxes = rows['expected_boxes'].clamp(min=self.least_boxes)
        cost = self._box_cost * boxes + self._image_cost
        if 'class_scores' in rows:
            rows['class_scores'] = per_cost(
                rows['class_scores'], cost[:, None])
        return dict(rows, expected_cost=cost)

    def compute(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """See :meth:`BaseScorer.compute`."""
        values = torch.from_numpy(np.asarray(self.scorer.compute(columns)))
        cost = torch.from_numpy(columns['expected_cost'])
        return per_cost(values.double(), cost.double()).numpy()

    def _take_flags(self) -> None:
        for flag in _FLAGS:
            setattr(self, flag, getattr(self.scorer, flag))
        self.needs_images = True


def per_cost(values: Tensor, cost: Tensor) -> Tensor:
    """Values for their costs; those below 0 times their costs."""
    return torch.where(values < 0, values * cost, values / cost)
