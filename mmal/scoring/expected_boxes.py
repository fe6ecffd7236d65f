"""How many boxes people will draw on images, as far as a detector can tell."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Optional

import numpy as np
import torch
from torch import nn

from mmal.models.utils.evaluation_mode import forward_precision
from mmal.randomness import seeded_order
from mmal.types import ImageId
from .data import ScoringData
from .detections.predict import detect

# mmdet's usual test_cfg.score_thr: heads that keep fainter detections (SSD's
# 0.02, YOLO's 0.005) would count hundreds of them.
LEAST_SCORE = 0.05
# Reference images that are looked at, at most.
REFERENCES = 200


class ExpectedBoxes:
    """Expects boxes by the scores of the detections.

    After NMS each detection is one candidate for one object. If scores are
    calibrated, a detection of score p is an object with probability p, and
    the sum of a class's scores is the expected number of those that the
    detector sees. Few detectors are, and one of an early round may see
    nothing at all. So on reference images, whose boxes are known, a line is
    fitted for each class by least squares, from the sum of an image's scores
    to the number of its boxes; it never falls, and ends at 0. Over images
    like the references it expects as many boxes as there are. For a detector
    that sees nothing it is their mean.

    One forward pass for each image that is asked for, and for at most
    :data:`REFERENCES` reference images, in this process alone.

    Args:
        model (nn.Module): A trained detector.
        data (ScoringData): The images.
        split (str): The split they are in.
        class_names (sequence[str]): The C classes by the detector's numbers.
        reference (str, optional): The split of the reference images, with
            labels; best of images that the detector was not trained on.
            Without one the sums are taken as they are.
        least_score (float): Detections below it do not count, in [0, 1].
    """

    def __init__(self,
                 model: nn.Module,
                 data: ScoringData,
                 split: str,
                 class_names: Sequence[str],
                 reference: Optional[str] = None,
                 least_score: float = LEAST_SCORE) -> None:
        self.class_names = list(class_names)
        self.reference = reference
        self.least_score = least_score
        self._model = model
        self._data = data
        self._split = split
        self._sums: dict[ImageId, np.ndarray] = {}

    def count_by_class(self, ids: Iterable[ImageId]) -> np.ndarray:
        """Expected boxes of each class.

        Args:
            ids (iterable[int | str]): N images that can be read.

        Returns:
            np.ndarray: float64 [N, C].
        """
        ids = list(ids)
        self._detect(ids)
        sums = np.array([self._sums[i] for i in ids]).reshape(
            len(ids), len(self.class_names))
        intercepts, slopes = self.lines
        return np.maximum(intercepts + slopes * sums, 0)

    def count_boxes(self, ids: Iterable[ImageId]) -> np.ndarray:
        """Expected boxes, float64 [N]."""
        return self.count_by_class(ids).sum(1)

    @cached_property
    def lines(self) -> tuple[np.ndarray, np.ndarray]:
        """Intercepts and slopes of the classes, float64 [C] each."""
        classes = len(self.class_names)
        ids = []
        if self.reference is not None:
            ids = seeded_order(self._data.ids(self.reference),
                               self._data.seed, 'reference', first=REFERENCES)
        pairs = [] if not ids else [
            (sums, np.bincount(sample.gt_instances.labels.cpu().numpy(),
                               minlength=classes))
            for sums, sample in self._look(self.reference, ids)]
        if not pairs:
            return np.zeros(classes), np.ones(classes)
        sums, counts = (np.array(of, np.float64) for of in zip(*pairs))
        x, y = sums - sums.mean(0), counts - counts.mean(0)
        spread = (x**2).sum(0)
        slopes = np.maximum((x * y).sum(0), 0) / np.where(spread, spread, 1)
        return counts.mean(0) - slopes * sums.mean(0), slopes

    def look_ahead(self, order: Iterable[ImageId],
                   known: Iterable[ImageId] = ()) -> Iterator[ImageId]:
        """An order whose images are looked at in batches before their turn.

        Of an order of which n images are drawn, at most n and a batch more
        are looked at. Images that cannot be read are left out; the split's
        ``unreadable`` has them.

        Args:
            order (iterable[int | str]): The order.
            known (iterable[int | str]): Images that nobody asks about.
        """
        order, known = iter(order), set(known)
        while ids := list(islice(order, self._data.batch_size)):
            self._detect([i for i in ids if i not in known])
            yield from (i for i in ids if i in known or i in self._sums)

    def _detect(self, ids: list[ImageId]) -> None:
        new = [i for i in ids if i not in self._sums]
        if new:
            for sums, sample in self._look(self._split, new):
                self._sums[sample.img_id] = sums

    @torch.no_grad()
    def _look(self, split: str, ids: Sequence[ImageId]) -> list[tuple]:
        """For each image that can be read, the sums of its scores, [C], and
        its sample."""
        was_training, seen = self._model.training, []
        self._model.eval()
        try:
            with forward_precision([self._model], self._data.precision):
                for batch in self._data.batches(
                        split, self._model, ids, shard=False):
                    for sample, detections in zip(
                            batch.samples, detect(self._model, batch)):
                        scores = detections.scores.double().cpu().numpy()
                        counted = scores >= self.least_score
                        labels = detections.labels.cpu().numpy()[counted]
                        seen.append((np.bincount(
                            labels, scores[counted], len(self.class_names)),
                            sample))
        finally:
            self._model.train(was_training)
        return seen
