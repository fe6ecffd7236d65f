"""Losses of one forward pass of single-stage detectors."""
from __future__ import annotations

from typing import Optional

from mmdet.models.detectors import SingleStageDetector
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmal.models.utils.batch_losses import takes_batches
from mmal.models.utils.per_image import (
    head_outputs,
    image_factors,
    image_losses,
    map_outputs,
)
from mmal.scoring.batch import Batch
from mmal.scoring.detector import predictions
from mmal.types import Outputs
from .base import PseudoLabelAdapter


class OneStageAdapter(PseudoLabelAdapter):
    """FCOS, RetinaNet, SSD, YOLO and all others with a dense ``bbox_head``.

    Args:
        model (nn.Module): The detector.
        seed (int): Not used.
    """

    @staticmethod
    def accepts(model: nn.Module) -> bool:
        """See :meth:`ModelAdapter.accepts`."""
        return isinstance(model, SingleStageDetector) and hasattr(
            getattr(model, 'bbox_head', None), 'loss_by_feat')

    def forward(self, batch: Batch) -> Outputs:
        """See :meth:`ModelAdapter.forward`."""
        return head_outputs(self.model, batch.inputs)

    def predictions(self, outputs, samples) -> list[InstanceData]:
        """See :meth:`PseudoLabelAdapter.predictions`."""
        return predictions(self.model, outputs, samples)

    def image_losses(self, outputs, samples, labels) -> Tensor:
        """See :meth:`ModelAdapter.image_losses`."""
        return image_losses(self.model, outputs, samples, labels,
                            self.factors)

    def loss_factors(self, outputs, samples,
                     labels) -> Optional[dict[str, Tensor]]:
        """See :meth:`ModelAdapter.loss_factors`."""
        return image_factors(self.model, outputs, samples, labels)

    def takes_batches(self) -> bool:
        """See :meth:`PseudoLabelAdapter.takes_batches`."""
        return takes_batches(self.model.bbox_head)

    def losses_both_ways(self, outputs, samples, labels) -> Tensor:
        """See :meth:`PseudoLabelAdapter.losses_both_ways`."""
        twice = map_outputs(
            lambda x: x.repeat(2, *[1] * (x.dim() - 1)), outputs)
        return self.image_losses(twice, [*samples, *samples], labels)
