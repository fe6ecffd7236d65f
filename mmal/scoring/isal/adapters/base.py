"""What the influence maths asks of a model."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional, Protocol

import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmal.scoring.batch import Batch
from mmal.scoring.detector import (
    class_boxes,
    expected_boxes,
    final_head,
    pseudo_label_losses,
    pseudo_labels,
)
from mmal.scoring.isal.pseudo_label_rule import PseudoLabelRule


class Expected(NamedTuple):
    """What to expect of B unlabelled images.

    Args:
        losses (Tensor): [B], with what stands for their labels.
        count (Tensor): int64 [B], how many pseudo-labels each has.
        boxes (Tensor): [B], how many boxes a person would draw, >= 0: the
            sum of the scores of all final detections.
        classes (Tensor): [B, C], the same for each class.
    """
    losses: Tensor
    count: Tensor
    boxes: Tensor
    classes: Tensor


class ModelAdapter(Protocol):
    """What the influence maths asks of a detector or classifier.

    ``outputs`` is what :meth:`forward` returned; nobody else looks into it.

    Attributes:
        image_dim (int): See :class:`mmal.influence.LayerRecorder`.
        factors (Mapping[str, float], optional): What divides each loss of
            every image, with the keys of :meth:`loss_factors`; None: what
            divides it where the image is alone. To be set only where
            :meth:`loss_factors` gives some.
    """
    image_dim: int
    factors: Optional[Mapping[str, float]]

    @staticmethod
    def accepts(model: nn.Module) -> bool:
        """Whether this adapter knows how to read the model."""

    def forward(self, batch: Batch):
        """The one forward pass of B images."""

    def image_losses(self, outputs, samples: Sequence,
                     labels: Sequence[InstanceData]) -> Tensor:
        """[B], the loss of each image as if it were alone in its batch."""

    def loss_factors(
            self, outputs, samples: Sequence,
            labels: Sequence[InstanceData]) -> Optional[dict[str, Tensor]]:
        """[B] for each loss, what the images add to the numbers that divide
        it in training; None where no such numbers are known."""

    def expected_losses(self, outputs, samples: Sequence,
                        rule: PseudoLabelRule) -> Expected:
        """The same with pseudo-labels."""


class PseudoLabelAdapter:
    """Detections that are sure enough become pseudo-labels.

    Args:
        model (nn.Module): The detector in eval mode.
        seed (int): Of what its losses draw at random.
    """
    image_dim = 0
    factors: Optional[Mapping[str, float]] = None

    def __init__(self, model: nn.Module, seed: int = 0) -> None:
        self.model = model
        self.seed = seed

    def predictions(self, outputs, samples: Sequence) -> list[InstanceData]:
        """Final detections of each image, in the network input's pixels."""
        raise NotImplementedError

    def image_losses(self, outputs, samples: Sequence,
                     labels: Sequence[InstanceData]) -> Tensor:
        """See :meth:`ModelAdapter.image_losses`."""
        raise NotImplementedError

    def loss_factors(
            self, outputs, samples: Sequence,
            labels: Sequence[InstanceData]) -> Optional[dict[str, Tensor]]:
        """See :meth:`ModelAdapter.loss_factors`."""
        return None

    def takes_batches(self) -> bool:
        """Whether :meth:`losses_both_ways` gives the losses at once."""
        return False

    def losses_both_ways(self, outputs, samples: Sequence,
                         labels: Sequence[InstanceData]) -> Tensor:
        """[2B], with the labels of B images moved one way, then the other."""
        raise NotImplementedError

    def pseudo_label_losses(self, outputs, samples: Sequence,
                            labels: Sequence[InstanceData]) -> Tensor:
        """[B], losses with detections as labels, off the losses' kinks."""
        at_once = bool(samples) and self.takes_batches()
        losses = self.losses_both_ways if at_once else self.image_losses
        return pseudo_label_losses(self.model, outputs, samples, labels,
                                   lambda _, *args: losses(*args), at_once)

    def expected_losses(self, outputs, samples: Sequence,
                        rule: PseudoLabelRule) -> Expected:
        """See :meth:`ModelAdapter.expected_losses`."""
        detections = self.predictions(outputs, samples)
        labels = pseudo_labels(detections, rule.score_thr)
        losses = self.pseudo_label_losses(outputs, samples, labels)
        count = torch.tensor([len(label) for label in labels])
        return Expected(losses, count.to(losses.device, non_blocking=True),
                        expected_boxes(detections),
                        class_boxes(detections,
                                    final_head(self.model).num_classes))
