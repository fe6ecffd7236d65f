"""How many boxes people will draw on images, as far as a detector can tell."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from torch import nn

from mmal.models.utils.evaluation_mode import forward_precision
from mmal.types import ImageId
from .data import ScoringData
from .detections.predict import detect

# mmdet's usual test_cfg.score_thr: heads that keep fainter detections (SSD's
# 0.02, YOLO's 0.005) would count hundreds of them.
LEAST_SCORE = 0.05


class ExpectedBoxes:
    """Expects as many boxes of a class as the scores of its detections add up
    to.

    After NMS each detection is one candidate for one object. If scores are
    calibrated, a detection of score p is an object with probability p, and
    the sum is the expected number of those that the detector sees. Detectors
    that are overconfident expect too many, those that overlook objects too
    few; what was drawn is compared with it in the next round.

    One forward pass for each image that is asked for, in this process alone.

    Args:
        model (nn.Module): A trained detector.
        data (ScoringData): The images.
        split (str): The split they are in.
        class_names (sequence[str]): The C classes by the detector's numbers.
        least_score (float): Detections below it do not count, in [0, 1].
    """

    def __init__(self,
                 model: nn.Module,
                 data: ScoringData,
                 split: str,
                 class_names: Sequence[str],
                 least_score: float = LEAST_SCORE) -> None:
        self.class_names = list(class_names)
        self.least_score = least_score
        self._model = model
        self._data = data
        self._split = split
        self._counts: dict[ImageId, np.ndarray] = {}

    def count_by_class(self, ids: Iterable[ImageId]) -> np.ndarray:
        """Expected boxes of each class.

        Args:
            ids (iterable[int | str]): N images that can be read.

        Returns:
            np.ndarray: float64 [N, C].
        """
        ids = list(ids)
        self._detect(ids)
        return np.array([self._counts[i] for i in ids]).reshape(
            len(ids), len(self.class_names))

    def count_boxes(self, ids: Iterable[ImageId]) -> np.ndarray:
        """Expected boxes, float64 [N]."""
        return self.count_by_class(ids).sum(1)

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
            yield from (i for i in ids if i in known or i in self._counts)

    @torch.no_grad()
    def _detect(self, ids: list[ImageId]) -> None:
        new = [i for i in ids if i not in self._counts]
        if not new:
            return
        was_training = self._model.training
        self._model.eval()
        try:
            with forward_precision([self._model], self._data.precision):
                for batch in self._data.batches(
                        self._split, self._model, new, shard=False):
                    found = detect(self._model, batch)
                    for image, detections in zip(batch.ids, found):
                        scores = detections.scores.double().cpu().numpy()
                        labels = detections.labels.cpu().numpy()
                        counted = scores >= self.least_score
                        self._counts[image] = np.bincount(
                            labels[counted], scores[counted],
                            len(self.class_names))
        finally:
            self._model.train(was_training)
