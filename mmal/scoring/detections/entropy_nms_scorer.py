"""ENMS: uncertain detections, each kind of which counts once."""
from __future__ import annotations

import math
from typing import Optional

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmal.registry import TASK_UTILS
from mmal.scoring.base import BaseScorer
from mmal.scoring.batch import Batch
from mmal.scoring.data import ScoringData
from mmal.scoring.dense.aggregation import aggregate
from mmal.scoring.dense.probabilities import class_entropy
from mmal.scoring.detector import class_boxes, final_head
from mmal.scoring.options import check_score_thr
from mmal.selection.detection_rows import pack_detections
from mmal.uncertainty import entropy_suppression
from .describe import check_described, describe, feature_layers
from .predict import by_class, confident, padded

_KEY = 'active_learning.scorer'


@TASK_UTILS.register_module()
class EntropyNMSScorer(BaseScorer):
    r"""The sum of the entropies of detections that are unlike each other.

    Wu et al., "Entropy-based Active Learning for Object Detection with
    Progressive Diversity Constraint", CVPR 2022, first stage; see
    :func:`~mmal.uncertainty.entropy_suppression`. A detection's entropy is
    that of the class probabilities of its anchor, point or proposal; of
    sigmoid heads the sum of the classes' binary entropies. Its feature is
    what the layer that gives the classes sees there. An image without a
    detection comes last.

    For the second stage, ``mmal.DiversePrototypes``, it gives the prototype
    of each class in an image: the entropy-weighted mean feature of the
    detections of the class that are left, with the largest score of these.
    The rows are those of :mod:`mmal.selection.detection_rows`, a class in
    place of a detection. ``minority_scores`` [num_classes] are the largest
    scores of the minority classes, -1 for the other classes. Minority classes
    are the ``minority`` share of all, rounded up, with the fewest labelled
    boxes; of equals the first.

    Cost: one forward pass.

    Args:
        score_thr (float): Detections with at least this score count.
        similarity_thr (float): Cosine above which a detection of the same
            class is redundant; the paper's is 0.5.
        minority (float): Share of the classes, in [0, 1]; the paper's alpha,
            0.5.

    Raises:
        ValueError: If a key is none of these.
    """

    needs_labels = True
    needs_embeddings = True
    embeds = 'detections'

    def __init__(self,
                 score_thr: float = 0.05,
                 similarity_thr: float = 0.5,
                 minority: float = 0.5) -> None:
        check_score_thr(score_thr)
        if not -1 <= similarity_thr <= 1:
            raise ValueError(f'{_KEY}.similarity_thr is {similarity_thr}: '
                             'give a cosine, from -1 to 1.')
        if not 0 <= minority <= 1:
            raise ValueError(f'{_KEY}.minority is {minority}: give a share '
                             'from 0 to 1.')
        self.score_thr = score_thr
        self.similarity_thr = similarity_thr
        self.minority = minority
        self._layers: tuple[str, ...] = ()
        self._is_minority: Optional[Tensor] = None

    def check(self, model: nn.Module, data: ScoringData) -> None:
        """Detect on a blank image, and look for features."""
        check_described(model)
        feature_layers(model)

    def prepare(self, model: nn.Module, data: ScoringData) -> None:
        """Find the minority classes, and the layers of the features."""
        counts = data.class_counts('labelled')[0].sum(0)
        number = math.ceil(self.minority * len(counts))
        self._is_minority = torch.zeros(len(counts), dtype=torch.bool)
        self._is_minority[np.argsort(counts, kind='stable')[:number]] = True
        self._layers = feature_layers(model)

    @torch.no_grad()
    def process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Score one batch.

        Returns:
            dict[str, Tensor]: ``score`` [B], ``minority_scores`` and
            ``class_boxes`` [B, num_classes], the number of ``detections`` and
            of those that are ``left`` [B], and ``embedding``
            [B, 1 + C (2 + D)].
        """
        classes = final_head(model).num_classes
        detections = describe(model, batch, self._layers)
        keep = confident(detections, self.score_thr)
        labels = padded(detections, 'labels', 0).long()
        features = padded(detections, 'features')
        entropies = class_entropy(padded(detections, 'class_probs'), classes)
        left = entropy_suppression(entropies, labels, features, keep,
                                   self.similarity_thr)

        of_class = by_class(detections, left, classes)
        # certain detections of a class that has no others count the same
        weights = of_class * (entropies.double()[:, None] + 1e-12)
        total = weights.sum(-1, keepdim=True)
        tiny = torch.finfo(total.dtype).tiny
        prototypes = weights @ features.double() / total.clamp(min=tiny)
        best = of_class * padded(detections, 'scores').double()[:, None]
        best = F.pad(best, (0, 1)).amax(-1)  # 0 where no detection is left
        minority = self._is_minority.to(best.device)
        return dict(
            score=aggregate(entropies, 'sum', left),
            minority_scores=best.masked_fill(~minority, -1),
            detections=keep.sum(1),
            left=left.sum(1),
            class_boxes=class_boxes(detections, classes),
            embedding=pack_detections(
                torch.arange(classes, device=best.device).expand_as(best),
                best, prototypes,
                of_class.any(-1), classes))
