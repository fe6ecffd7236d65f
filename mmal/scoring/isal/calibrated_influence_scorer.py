"""Influence as the reference set's own labels say it should be expected."""
from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple, Optional

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dist import all_gather_object
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmal.compat.losses import local_losses
from mmal.influence import image_products
from mmal.random_tensors import TensorStreams
from mmal.randomness import seeded_order
from mmal.registry import TASK_UTILS
from mmal.scoring.batch import Batch
from mmal.scoring.data import ScoringData
from mmal.scoring.detections.predict import padded
from mmal.scoring.detector import (
    class_boxes,
    dummy_batch,
    expected_boxes,
    final_head,
    labels_of,
)
from mmal.uncertainty import binary_entropy
from .adapters import adapter_of
from .adapters.base import PseudoLabelAdapter
from .influence_scorer import InfluenceScorer
from .ridge import Ridge

THRESHOLDS = (0.05, 0.1, 0.3, 0.5)
_FOLDS = 2
_DRAWN = 300  # detections of an image that label sets are drawn from


class _Seen(NamedTuple):
    """What is seen of B images by M vectors.

    Args:
        features (Tensor): float64 [B, M, F], first the influences with the
            detections at each threshold as labels.
        count (Tensor): int64 [B], pseudo-labels.
        boxes (Tensor): [B], expected boxes.
        classes (Tensor): [B, C], those of each class.
        true (Tensor, optional): float64 [B, M], influences with true labels.
    """
    features: Tensor
    count: Tensor
    boxes: Tensor
    classes: Tensor
    true: Optional[Tensor]


@TASK_UTILS.register_module()
class CalibratedInfluenceScorer(InfluenceScorer):
    """Expects of an image the influence that images like it really have.

    A pseudo-label says what a detector sees, and an image teaches what it
    does not see. How the two go together shows on the reference set, whose
    labels are known and which the detector was not trained on. It is cut into
    two halves, A and B. With s_test of the loss of A, each image of B has a
    true influence, that of its own labels, and features that an unlabelled
    image has too: the influence with the detections of a score of at least
    0.05, 0.1, 0.3, 0.5 and ``score_thr`` as labels, with none, the mean and
    the deviation over label sets that are drawn by the scores, and entropies
    and numbers of detections. So have the images of A with s_test of the loss
    of B: no image counts for its own loss. A ridge regression goes from the
    features to the influence per expected cost (the budget's, see
    :class:`mmal.scoring.PerCostScorer`), whose deviation is about the same
    for images with few and with many objects. The score of an unlabelled
    image is what it says of both s_test, in the mean, times the cost: the
    expected influence on the loss of the reference set.

    Where the reference set has fewer than ``min_images`` images, the scores
    are those of :class:`InfluenceScorer`, and a warning says so.

    Cost beyond InfluenceScorer's: one more system with the same H (for
    ``BlockCholesky`` without another pass), a second look at the reference
    set, and for each image ``draws`` + 4 or 5 more losses and backward passes
    of the head. The forward passes of the pool stay one an image.

    Args:
        draws (int): Label sets to draw, at least 2.
        min_images (int): The fewest reference images to fit with.
        **options: Of :class:`InfluenceScorer`. With another ``reference``
            than 'val' the detector was trained on the images, and sees in
            them what it would not see in others.

    Raises:
        ValueError: An option is out of its range.
    """

    def __init__(self, draws: int = 4, min_images: int = 100,
                 **options) -> None:
        super().__init__(**options)
        if draws < 2:
            raise ValueError(f'active_learning.scorer.draws is {draws}: give '
                             'at least 2, or their deviation is not known.')
        self.thresholds = sorted({*THRESHOLDS, self.rule.score_thr})
        self.draws = draws
        self.min_images = min_images
        self.vectors: list[list[Tensor]] = []
        self.ridge: Optional[Ridge] = None

    def check(self, model: nn.Module, data: ScoringData) -> None:
        """See :meth:`BaseScorer.check`."""
        if not isinstance(adapter_of(model), PseudoLabelAdapter):
            raise ValueError(
                f'active_learning.scorer is a {type(self).__name__}, which '
                f'calibrates by detections, but {type(model).__name__} is no '
                'detector: use mmal.InfluenceScorer.')
        self._begin(data)
        super().check(model, data)
        with local_losses():  # process 0 may be alone here
            self._look(model, dummy_batch(model))

    def prepare(self, model: nn.Module, data: ScoringData) -> None:
        """Two s_test, and what they are worth on the other half of R."""
        self._begin(data)
        operator = self.operator(model, data)
        operator.keep_blocks = True  # for the second system
        order = seeded_order(self._reference_ids(data), data.seed, data.round,
                             'folds')
        # the halves of a tiny set may be empty, and are not told apart then
        small = len(order) < max(self.min_images, _FOLDS)
        fold = {i: 0 if small else n % _FOLDS for n, i in enumerate(order)}
        gradients = self._reference_gradients(model, data, fold)
        self.vectors = [self._solve(operator, g, data) for g in gradients]
        self.s_test = self.vectors[0]
        if small:
            print_log(
                f"the reference set '{self.reference}' has only {len(order)} "
                f'images, fewer than {self.min_images} '
                '(active_learning.scorer.min_images): influences are not '
                'calibrated, but those of mmal.InfluenceScorer.', 'current',
                logging.WARNING)
            return
        self.ridge = self._fit(model, data, fold)

    def _begin(self, data: ScoringData) -> None:
        self._data = data
        self._key = (data.seed, data.round, 'label sets')
        self.vectors = []
        self.ridge = None

    def process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Scores [B], and the columns of :class:`InfluenceScorer`;
        ``product`` is that scorer's score."""
        if self.ridge is None:
            rows = super().process(model, batch)
            return dict(rows, product=rows['score'])
        seen = self._look(model, batch)
        per_cost = torch.stack([
            self.ridge.predict(features)
            for features in seen.features.unbind(1)]).mean(0)
        score = per_cost * self._data.expected_cost(seen.boxes)
        product = seen.features[
            ..., self.thresholds.index(self.rule.score_thr)].mean(1)
        if self.empty == 'last':
            score = score.masked_fill(seen.count == 0, -float('inf'))
        return dict(score=score, product=product, pseudo_labels=seen.count,
                    expected_boxes=seen.boxes, class_boxes=seen.classes)

    def _look(self, model: nn.Module, batch: Batch,
              truth: Optional[Sequence[InstanceData]] = None) -> _Seen:
        """Look at B images; at their labels too where they are given."""
        with self.recorder:
            outputs = self.adapter.forward(batch)
            detections = self.adapter.predictions(outputs, batch.samples)
            scores = padded(detections, 'scores')
            sets = self._label_sets(detections, scores, batch)
            losses = [
                self.adapter.pseudo_label_losses(outputs, batch.samples, s)
                for s in sets]
            if truth is not None:
                losses.append(self.adapter.image_losses(
                    outputs, batch.samples, truth))
        influences = torch.stack([
            image_products(of_set, self.recorder,
                           self.vectors or [self.s_test]).detach()
            for of_set in losses], 2).double()  # [B, M, sets]
        self.recorder.clear()
        first = len(self.thresholds) + 1
        drawn = influences[..., first:first + self.draws]
        boxes = expected_boxes(detections)
        scores = F.pad(scores.double(), (0, 1))  # never without a column
        entropy = binary_entropy(scores)
        others = torch.stack([
            entropy.sum(1), entropy.amax(1), boxes.double(),
            (scores >= 0.5).sum(1), (scores > 0).sum(1)], 1)
        features = torch.cat([
            influences[..., :first], drawn.mean(2, keepdim=True),
            drawn.std(2, keepdim=True),
            others[:, None].expand(-1, influences.size(1), -1)], 2)
        count = torch.tensor([len(label) for label in sets[
            self.thresholds.index(self.rule.score_thr)]])
        return _Seen(features, count.to(boxes.device, non_blocking=True),
                     boxes,
                     class_boxes(detections, final_head(model).num_classes),
                     None if truth is None else influences[..., -1])

    def _label_sets(self, detections: Sequence[InstanceData], scores: Tensor,
                    batch: Batch) -> list[list[InstanceData]]:
        """The detections of B images with scores [B, n] as labels: those at
        each threshold, none, and drawn ones."""
        size, number = scores.shape
        uniform = TensorStreams(batch.ids, *self._key).uniform(
            (self.draws, _DRAWN), scores.device)
        uniform = F.pad(uniform, (0, max(0, number - _DRAWN)), value=1.)
        chosen = torch.stack([
            *(scores >= t for t in self.thresholds),
            torch.zeros_like(scores, dtype=torch.bool),
            *(uniform[..., :number] < scores[:, None]).unbind(1)])
        flags = [of_image[:len(d)] for of_set in chosen
                 for of_image, d in zip(of_set, detections)]
        labels = labels_of(list(detections) * len(chosen), flags)
        return [labels[n:n + size] for n in range(0, len(labels), size)]

    def _fit(self, model: nn.Module, data: ScoringData,
             fold: dict) -> Ridge:
        """The regression from what is seen in an image to its influence per
        expected cost, by the s_test of the half that it is not in."""
        rows = []
        for batch in data.batches(self.reference, model,
                                  self._reference_ids(data),
                                  desc='calibration'):
            seen = self._look(model, batch,
                              [s.gt_instances for s in batch.samples])
            at = torch.arange(len(batch), device=seen.boxes.device)
            other = torch.tensor([_FOLDS - 1 - fold[i] for i in batch.ids],
                                 device=at.device)
            values = seen.true[at, other] / \
                self._data.expected_cost(seen.boxes)
            rows += zip(batch.ids, seen.features[at, other].cpu().numpy(),
                        values.cpu().numpy())
        found = {image: row for of_process in all_gather_object(rows)
                 for image, *row in of_process}
        # in one order for any number of processes
        features, values = map(
            np.array, zip(*(found[i] for i in fold if i in found)))
        ridge = Ridge.fit(features, values)
        print_log(
            f'the true influences per cost of {len(values)} reference images '
            'and what is expected of each of them by the others have a '
            f'correlation of {ridge.correlation:.2f}.', 'current')
        return ridge
