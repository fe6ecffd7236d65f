"""Losses and expected gradients of image classifiers."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmal.models.classifiers.image_classifier import (
    ImageClassifier,
    single_labels,
)
from mmal.scoring.batch import Batch
from mmal.scoring.isal.pseudo_label_rule import PseudoLabelRule
from .base import Expected


class ClassifierAdapter:
    """``mmal.ImageClassifier`` and its kind.

    Args:
        model (nn.Module): The classifier.
        seed (int): Not used.
    """
    image_dim = 0
    factors = None  # a loss of one image is divided by nothing

    def __init__(self, model: nn.Module, seed: int = 0) -> None:
        self.model = model

    @staticmethod
    def accepts(model: nn.Module) -> bool:
        """See :meth:`ModelAdapter.accepts`."""
        return isinstance(model, ImageClassifier)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, C]."""
        return self.model.logits(batch.inputs)

    def image_losses(self, outputs: Tensor, samples: Sequence,
                     labels: Sequence[InstanceData]) -> Tensor:
        """See :meth:`ModelAdapter.image_losses`."""
        names = [s.metainfo.get('img_id') for s in samples]
        return self.model.cls_head.image_losses(outputs,
                                                single_labels(labels, names))

    def loss_factors(self, outputs: Tensor, samples: Sequence,
                     labels: Sequence[InstanceData]) -> None:
        """None: an image has one label, whatever it shows."""

    def expected_losses(self, outputs: Tensor, samples: Sequence,
                        rule: PseudoLabelRule) -> Expected:
        """The sum of the losses for the K most probable classes, each times
        its probability (ISAL, eq. 3); the probabilities are constants.

        Returns:
            Expected: K pseudo-labels, and one label to give.

        Raises:
            ValueError: If there are fewer than K classes.
        """
        batch, classes = outputs.shape
        if rule.top_k > classes:
            raise ValueError(f'active_learning.scorer.top_k is {rule.top_k}, '
                             f'but there are only {classes} classes.')
        head = self.model.cls_head
        of_classes = head.probabilities(outputs.detach())
        probs, labels = of_classes.topk(rule.top_k, dim=1)
        losses = head.image_losses(
            outputs.repeat_interleave(rule.top_k, 0), labels.flatten())
        expected = (losses.view(batch, rule.top_k) * probs).sum(1)
        return Expected(expected, torch.full_like(labels[:, 0], rule.top_k),
                        torch.ones_like(expected), of_classes)
