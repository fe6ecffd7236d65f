"""Gradients of the output layer with the prediction as its own label."""
from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Optional
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from mmal.models.committees import Member
from mmal.registry import TASK_UTILS
from mmal.scoring.base import BaseScorer
from mmal.scoring.batch import Batch
from mmal.scoring.data import ScoringData
from mmal.scoring.detector import dummy_batch
from mmal.scoring.options import check_choice
from mmal.uncertainty import binary_self_loss, categorical_self_loss
from .class_layer_gradients import (
    class_layer_gradients,
    class_rows,
    output_layers,
    position_norms,
)
from .probabilities import check_dense


@TASK_UTILS.register_module()
class GradScorer(BaseScorer):
    """How large a gradient would be if the prediction were the label.

    "Grad" of "Scalable Active Learning for Object Detection". The loss of an
    image is the mean over its P positions of the cross-entropy with the
    predicted label: softmax heads, the most probable of classes and
    background; sigmoid heads, the sum over the classes, each of which is
    there if p > 0.5. Its gradient is taken by weights and biases of the
    layers that give the class outputs (YOLO: and the objectness). One model:
    the norm of that vector. A committee: the largest, or the mean, variance
    of its elements over the members.

    ``class_scores`` [num_classes] are the same of the rows of each class
    alone; a head with a method ``class_probabilities`` has none.

    Cost: one forward pass of each member, the loss differentiated by the raw
    outputs, and one convolution for each output layer and level. Memory: with
    a committee three gradients of each image, without one; 4 bytes for each
    weight of the output layers (RetinaNet on COCO: 6.6 MB).

    Args:
        aggregation (str): 'max' or 'mean', over the elements of the
            gradient; of a committee alone.
    """

    uses_committee = True
    gives_class_scores = True
    quantity = 'norm of the gradient'

    def __init__(self, aggregation: str = 'max') -> None:
        check_choice('aggregation', aggregation, ('max', 'mean'))
        self.aggregation = aggregation
        self.committee = None
        # Which layers they are takes a pass of the head to find out: once for
        # each model, and no longer than it lives.
        self._layers: WeakKeyDictionary = WeakKeyDictionary()

    def check(self, model: nn.Module, data: ScoringData) -> None:
        """See :meth:`BaseScorer.check`."""
        check_dense(model)
        self.gives_class_scores = _has_rows(model.bbox_head)
        inputs = dummy_batch(model, box=False).inputs
        with torch.no_grad():
            output_layers(model, model.extract_feat(inputs))

    def prepare(self, model: nn.Module, data: ScoringData) -> None:
        """Take the committee of this round, if there is one."""
        self.committee = data.committee

    @torch.no_grad()
    def process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """``score`` [B] and ``class_scores`` [B, num_classes], float64."""
        if self.committee is None:
            features = partial(model.extract_feat, batch.inputs)
            grads = self._gradients(Member(model, features))
            measure = torch.linalg.vector_norm
        else:
            grads = self._variances(model, batch)
            measure = dict(max=torch.amax, mean=torch.mean)[self.aggregation]
        score = measure(_joined(grads.values()), dim=-1)
        columns = dict(score=score.double())
        head = model.bbox_head
        if _has_rows(head):
            # The same of the rows of each class alone, of all output layers.
            rows = [class_rows(head, name, g) for name, g in grads.items()]
            of_classes = torch.cat(
                [r.flatten(2) for r in rows if r is not None], 2)
            columns['class_scores'] = measure(of_classes, dim=-1).double()
        return columns

    @torch.no_grad()
    def map_values(self,
                   model: nn.Module,
                   batch: Batch,
                   class_index: Optional[int] = None) -> Tensor:
        """The norm of the gradient of each position's own loss, for pictures.

        Args:
            model (nn.Module): The trained detector in eval mode; committees
                are not asked.
            batch (Batch): B images.
            class_index (int, optional): Of the rows of this class alone.

        Returns:
            Tensor: [B, P].

        Raises:
            ValueError: If it is not known which rows are of which class.
        """
        head = model.bbox_head
        if class_index is not None and not _has_rows(head):
            raise ValueError(
                f'GradScorer cannot tell the classes of {type(head).__name__} '
                'apart: leave the class out.')
        features = model.extract_feat(batch.inputs)
        return position_norms(
            model, features, self._layers_of(model, features),
            lambda p: self_loss(p, head.num_classes) * p.size(1), class_index)

    def _layers_of(self, model: nn.Module,
                   features: Sequence[Tensor]) -> list[str]:
        if model not in self._layers:
            self._layers[model] = output_layers(model,
                                                [x[:1] for x in features])
        return self._layers[model]

    def _gradients(self, member: Member) -> dict[str, Tensor]:
        features = member.features()
        classes = member.model.bbox_head.num_classes
        loss = partial(self_loss, num_classes=classes)
        return class_layer_gradients(
            member.model, features, self._layers_of(member.model, features),
            loss)

    def _variances(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Population variance of each element, one pass (Welford)."""
        mean, squares, count = {}, {}, 0
        for member in self.committee.members(model, batch):
            count += 1
            grads = self._gradients(member)
            if count == 1:
                mean = grads
                squares = {k: torch.zeros_like(g) for k, g in grads.items()}
                continue
            ours, theirs = ({k: tuple(g.shape[1:]) for k, g in x.items()}
                            for x in (mean, grads))
            if ours != theirs:
                raise ValueError(
                    'active_learning.committee: the output layers of a member '
                    f'are {theirs}, of the model {ours}. GradScorer compares '
                    'their gradients: use members of equal heads.')
            for k, g in grads.items():
                offset = g - mean[k]
                mean[k] = mean[k] + offset / count
                squares[k] += offset * (g - mean[k])
        return {k: s / count for k, s in squares.items()}


def self_loss(probs: Tensor, num_classes: int) -> Tensor:
    """Mean cross-entropy of predictions with themselves as labels.

    Args:
        probs (Tensor): [B, P, C]; C = num_classes + 1 for softmax heads.
        num_classes (int): Without the background.

    Returns:
        Tensor: [B].
    """
    if probs.size(-1) == num_classes + 1:
        return categorical_self_loss(probs).mean(1)
    return binary_self_loss(probs).sum(-1).mean(1)


def _joined(grads) -> Tensor:
    """[B, number of elements]."""
    return torch.cat([g.flatten(1) for g in grads], 1)


def _has_rows(head: nn.Module) -> bool:
    """Whether it is known which outputs are of which class."""
    return not hasattr(head, 'class_probabilities')
