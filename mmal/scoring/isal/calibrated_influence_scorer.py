"""Influence as the reference set's own labels say it should be expected."""
from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Optional

import numpy as np
import torch
from mmengine.dist import all_gather_object
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmal.influence import image_products
from mmal.random_tensors import TensorStreams
from mmal.randomness import seeded_order
from mmal.registry import TASK_UTILS
from mmal.scoring.batch import Batch
from mmal.scoring.data import ScoringData
from mmal.scoring.detector import labels_of
from mmal.uncertainty import binary_entropy
from .adapters import adapter_of
from .adapters.base import PseudoLabelAdapter, expected_boxes
from .influence_scorer import InfluenceScorer
from .ridge import Ridge

THRESHOLDS = (0.05, 0.1, 0.3, 0.5)
_FOLDS = 2
_DRAWN = 300  # detections of an image that label sets are drawn from


@TASK_UTILS.register_module()
class CalibratedInfluenceScorer(InfluenceScorer):
    """Expects of an image the influence that images like it really have.

    A pseudo-label says what a detector sees, and an image teaches what it
    does not see. How the two go together shows on the reference set, whose
    labels are known and which the detector was not trained on. It is cut into
    two halves, A and B. With s_test of the loss of A, each image of B has a
    true influence, that of its own labels, and features that an unlabelled
    image has too: the influence with the detections of a score of at least
    0.05, 0.1, 0.3 and 0.5 as labels, with none, the mean and the deviation
    over label sets that are drawn by the scores, and entropies and numbers of
    detections. So have the images of A with s_test of the loss of B: no image
    counts for its own loss. A ridge regression goes from the features to the
    influence per expected cost (the budget's, see
    :class:`mmal.scoring.PerCostScorer`), whose deviation is about the same
    for images with few and with many objects. The score of an unlabelled
    image is what it says of both s_test, in the mean, times the cost: the
    expected influence on the loss of the reference set.

    Where the reference set has fewer than ``min_images`` images, the scores
    are those of :class:`InfluenceScorer`, and a warning says so.

    Cost beyond InfluenceScorer's: one more system with the same H (for
    ``BlockCholesky`` without another pass), a second look at the reference
    set, and for each image ``draws`` + 4 more losses and backward passes of
    the head. The forward passes of the pool stay one an image.

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
        products, others, count, boxes = self._features(model, batch)
        product = products[:, THRESHOLDS.index(0.1)].mean(-1)
        score = product
        if self.ridge is not None:
            per_cost = torch.stack([
                self.ridge.predict(torch.cat([of_half, others], 1))
                for of_half in products.unbind(-1)]).mean(0)
            score = per_cost * self._data.expected_cost(boxes)
        if self.empty == 'last':
            score = score.masked_fill(count == 0, -float('inf'))
        return dict(score=score, product=product, pseudo_labels=count,
                    expected_boxes=boxes)

    def _features(self, model: nn.Module, batch: Batch,
                  truth: Optional[Sequence[InstanceData]] = None) -> tuple:
        """What is known of each image without its labels.

        Args:
            truth (sequence[InstanceData], optional): The labels of B images.

        Returns:
            tuple: Float64: influences [B, 4 + 3, M] for M vectors, other
            features [B, 5], int64 [B] pseudo-labels, and expected boxes [B].
            Where ``truth`` is given also the true influences [B, M].
        """
        with self.recorder:
            outputs = self.adapter.forward(batch)
            detections = self.adapter.predictions(outputs, batch.samples)
            sets, count = self._label_sets(detections, batch)
            losses = [
                self.adapter.pseudo_label_losses(outputs, batch.samples, s)
                for s in sets]
            if truth is not None:
                losses.append(self.adapter.image_losses(
                    outputs, batch.samples, truth))
        influences = torch.stack([
            image_products(of_set, self.recorder,
                           self.vectors or [self.s_test]).detach()
            for of_set in losses], 1).double()  # [B, sets, M]
        self.recorder.clear()
        first = len(THRESHOLDS) + 1
        drawn = influences[:, first:first + self.draws]
        products = torch.cat([
            influences[:, :first],
            drawn.mean(1, keepdim=True), drawn.std(1, keepdim=True)], 1)
        boxes = expected_boxes(detections)
        entropies = [binary_entropy(d.scores.double()) for d in detections]
        others = torch.stack([
            torch.stack([e.sum() for e in entropies]),
            torch.stack([e.max() if len(e) else e.sum() for e in entropies]),
            boxes.double(),
            torch.stack([(d.scores >= 0.5).sum() for d in detections]),
            torch.stack([torch.full_like(d.scores[:1].sum(), len(d))
                         for d in detections])], 1).double()
        found = products, others, count, boxes
        return found if truth is None else (*found, influences[:, -1])

    def _label_sets(self, detections: Sequence[InstanceData],
                    batch: Batch) -> tuple[list[list[InstanceData]], Tensor]:
        """Labels at each threshold, none, and drawn ones, B sets each; and
        how many there are at ``score_thr``."""
        uniform = TensorStreams(batch.ids, *self._key).uniform(
            (self.draws, _DRAWN), detections[0].scores.device)
        flags = []
        for threshold in THRESHOLDS:
            flags += [d.scores >= threshold for d in detections]
        flags += [torch.zeros_like(d.scores, dtype=torch.bool)
                  for d in detections]
        for k in range(self.draws):
            for d, of_image in zip(detections, uniform):
                keep = torch.zeros_like(d.scores, dtype=torch.bool)
                keep[:_DRAWN] = of_image[k, :len(d)] < d.scores[:_DRAWN]
                flags.append(keep)
        size = len(detections)
        labels = labels_of(list(detections) * (len(flags) // size), flags)
        count = torch.stack(
            [(d.scores >= self.rule.score_thr).sum() for d in detections])
        return [labels[n:n + size]
                for n in range(0, len(labels), size)], count

    def _fit(self, model: nn.Module, data: ScoringData,
             fold: dict) -> Ridge:
        """The regression from what is seen in an image to its influence per
        expected cost, by the s_test of the half that it is not in."""
        rows = []
        for batch in data.batches(self.reference, model,
                                  self._reference_ids(data),
                                  desc='calibration'):
            truth = [s.gt_instances for s in batch.samples]
            products, others, _, boxes, true = self._features(
                model, batch, truth)
            other = torch.tensor([_FOLDS - 1 - fold[i] for i in batch.ids],
                                 device=true.device)[:, None]
            features = torch.cat([
                products.take_along_dim(other[:, None], -1)[..., 0], others
            ], 1)
            value = true.take_along_dim(other, 1)[:, 0] / \
                data.expected_cost(boxes)
            rows += zip(batch.ids, features.cpu().numpy(),
                        value.cpu().numpy())
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
