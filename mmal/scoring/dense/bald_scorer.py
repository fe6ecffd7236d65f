"""BALD of the Bayesian convolution beside a detector's prediction layer."""
from __future__ import annotations

from typing import Optional

import torch
from mmdet.models.detectors import SingleStageDetector
from torch import Tensor, nn

from mmal.models.utils import flatten_levels
from mmal.registry import TASK_UTILS
from mmal.scoring.base import BaseScorer
from mmal.scoring.batch import Batch
from mmal.scoring.data import ScoringData
from mmal.scoring.detector import dummy_batch
from mmal.scoring.options import check_choice
from mmal.uncertainty import bald
from .aggregation import AGGREGATIONS, aggregate


@TASK_UTILS.register_module()
class BALDScorer(BaseScorer):
    """Aggregates the BALD of each anchor (point) over the image.

    The uncertainty by which "Loss Rescaling by Uncertainty Inference for
    Single-stage Object Detection" weighs losses (eq. 2), read from the branch
    that training leaves in the head: of the objectness of YOLOv3, of the
    classes of RetinaNet and FCOS, each a binary variable of its own, whose
    values are summed. In bits.

    Cost: one forward pass without NMS, and the branch on its features.

    Args:
        aggregation (str): 'mean', 'max' or 'sum' over the P positions of all
            levels.

    Raises:
        ValueError: If ``aggregation`` is something else.
    """

    quantity = 'BALD, bits'

    def __init__(self, aggregation: str = 'mean') -> None:
        check_choice('aggregation', aggregation, AGGREGATIONS)
        self.aggregation = aggregation

    def check(self, model: nn.Module, data: ScoringData) -> None:
        """See :meth:`BaseScorer.check`."""
        check_branch(model)
        self.values(model, dummy_batch(model, box=False))

    def process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Score one batch; ``score`` is float64 [B]."""
        positions = self.values(model, batch).sum(-1)
        return dict(score=aggregate(positions, self.aggregation))

    @torch.no_grad()
    def values(self, model: nn.Module, batch: Batch) -> Tensor:
        """BALD before aggregation.

        Args:
            model (nn.Module): The trained single-stage detector in eval mode.
            batch (Batch): B images.

        Returns:
            Tensor: [B, P, C] in [0, 1] bits; C is what the branch predicts of
            an anchor, 1 of YOLOv3.
        """
        head = model.bbox_head
        levels = head.branch_moments(model.extract_feat(batch.inputs))
        anchors = head.prior_generator.num_base_priors[0]
        channels = levels[0][0].size(1) // anchors
        mean, std = (flatten_levels(x, channels) for x in zip(*levels))
        return bald(mean, std)

    def map_values(self,
                   model: nn.Module,
                   batch: Batch,
                   class_index: Optional[int] = None) -> Tensor:
        """The value of each position, for pictures.

        Args:
            model (nn.Module): The trained single-stage detector in eval mode.
            batch (Batch): B images.
            class_index (int, optional): The values of this class alone; of
                all when None.

        Returns:
            Tensor: [B, P].

        Raises:
            ValueError: If a class is asked for, but the branch predicts
                objectness.
        """
        values = self.values(model, batch)
        if class_index is None:
            return values.sum(-1)
        if values.size(-1) != model.bbox_head.num_classes:
            raise ValueError(
                f'{type(model.bbox_head).__name__} has the BALD of its '
                'objectness, not of a class: name no class.')
        return values[..., class_index]


def check_branch(model: nn.Module) -> None:
    """Raise a ValueError unless the detector has a Bayesian branch."""
    head = getattr(model, 'bbox_head', None)
    if isinstance(model, SingleStageDetector) and hasattr(
            head, 'branch_moments'):
        return
    raise ValueError(
        'BALD is read from a Bayesian branch of the head, which '
        f'{type(model).__name__} with {type(head).__name__} does not have: '
        'set model.bbox_head.type to mmal.BayesYOLOV3Head, '
        'mmal.BayesRetinaHead or mmal.BayesFCOSHead and train it, or choose '
        'another active_learning.scorer.')
