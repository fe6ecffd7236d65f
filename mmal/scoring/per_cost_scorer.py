"""Any scorer's value for what labelling an image is expected to cost."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

import numpy as np
from mmdet.models.detectors import SingleStageDetector
from torch import Tensor, nn

from mmal.registry import TASK_UTILS
from .base import BaseScorer
from .batch import Batch
from .data import ScoringData
from .detections.predict import check_detections, detect
from .detector import class_boxes, expected_boxes, final_head, predictions

_FLAGS = ('needs_images', 'needs_labels', 'needs_committee', 'uses_committee',
          'gives_class_scores', 'gives_class_weights', 'may_be_negative',
          'needs_embeddings', 'embeds', 'gives_columns')


@TASK_UTILS.register_module()
class PerCostScorer(BaseScorer):
    """Divides the scores of another scorer by the expected cost of an image.

    The cost is the budget's. With ``unit='boxes'`` an image costs its boxes
    and ``per_image``: expected are as many boxes as the scores of its final
    detections add up to, at least one. With ``unit='images'`` all cost the
    same, and the order does not change.

    Taking the images of the highest value per cost until the budget is spent
    gives the most value in all, but for what the last image may leave over.
    That holds for values below 0 as well: of two that do equal harm the
    dearer one goes first, as it leaves less to spend on others.

    One forward pass an image for both, where the detector has a single stage
    or the scorer counts the boxes itself (column ``expected_boxes``); two
    elsewhere.

    Args:
        scorer (dict): Config of the other scorer.
    """

    def __init__(self, scorer: dict) -> None:
        self.scorer: BaseScorer = TASK_UTILS.build(scorer)
        self._take_flags()
        self._data: Optional[ScoringData] = None

    def check(self, model: nn.Module, data: ScoringData) -> None:
        """See :meth:`BaseScorer.check`."""
        self._data = data
        self.scorer.check(model, data)
        self._take_flags()  # some depend on the model
        check_detections(model)

    def prepare(self, model: nn.Module, data: ScoringData) -> None:
        """See :meth:`BaseScorer.prepare`."""
        self._data = data
        self.scorer.prepare(model, data)

    def process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The other scorer's columns, and ``expected_boxes`` and
        ``expected_cost`` [B]; its values of classes are divided here. What
        detects here gives ``class_boxes`` [B, C] too."""
        heads: list = []
        with _recorded(model, heads):
            rows = dict(self.scorer.process(model, batch))
        if 'expected_boxes' not in rows:
            found = predictions(model, heads[0], batch.samples) if heads \
                else detect(model, batch)
            rows['expected_boxes'] = expected_boxes(found)
            rows['class_boxes'] = class_boxes(
                found, final_head(model).num_classes)
        cost = self._data.expected_cost(rows['expected_boxes'])
        if 'class_scores' in rows:
            rows['class_scores'] = rows['class_scores'] / cost[:, None]
        return dict(rows, expected_cost=cost)

    def compute(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """See :meth:`BaseScorer.compute`."""
        return self.scorer.compute(columns) / columns['expected_cost']

    def kept_columns(self,
                     columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See :meth:`BaseScorer.kept_columns`."""
        return self.scorer.kept_columns(columns)

    def _take_flags(self) -> None:
        for flag in _FLAGS:
            setattr(self, flag, getattr(self.scorer, flag))
        self.needs_images = True


@contextmanager
def _recorded(model: nn.Module, outputs: list) -> Iterator[None]:
    """Append what the head of a single-stage detector returns inside."""
    if not isinstance(model, SingleStageDetector):
        yield
        return
    hook = model.bbox_head.register_forward_hook(
        lambda head, args, output: outputs.append(output))
    try:
        yield
    finally:
        hook.remove()
