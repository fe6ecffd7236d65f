"""LLAL: label the images for which the detector expects a high loss."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from mmal.registry import TASK_UTILS
from .base import BaseScorer
from .batch import Batch
from .data import ScoringData
from .detector import dummy_batch


@TASK_UTILS.register_module()
class LearningLossScorer(BaseScorer):
    """The loss that a ``mmal.LearningLossDetector`` predicts for an image.

    Yoo & Kweon, "Learning Loss for Active Learning", CVPR 2019. Cost: one
    forward pass of backbone and neck.
    """

    may_be_negative = True

    def check(self, model: nn.Module, data: ScoringData) -> None:
        """See :meth:`BaseScorer.check`."""
        if not hasattr(model, 'predict_losses'):
            raise ValueError(
                'active_learning.scorer.type is mmal.LearningLossScorer, but '
                f'{type(model).__name__} has no loss prediction head: set '
                "model.type='mmal.LearningLossDetector' in the config of a "
                'single-stage detector, or choose another scorer.')
        self._predict(model, dummy_batch(model))

    def process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """See :meth:`BaseScorer.process`."""
        return dict(score=self._predict(model, batch))

    @torch.no_grad()
    def _predict(self, model: nn.Module, batch: Batch) -> Tensor:
        return model.predict_losses(batch.inputs).float()
