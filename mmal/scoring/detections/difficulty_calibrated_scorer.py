"""PPAL: uncertain detections, those of difficult classes above all."""
from __future__ import annotations

import logging
import math
from typing import Optional

import torch
from mmengine.dist import all_reduce
from mmengine.logging import print_log
from torch import Tensor, nn

from mmal.compat.losses import local_losses
from mmal.models.utils import head_outputs, training_outputs
from mmal.models.utils.match_recorder import MatchRecorder, class_sums
from mmal.models.utils.per_image import ignored_by_image
from mmal.registry import TASK_UTILS
from mmal.scoring.base import BaseScorer
from mmal.scoring.batch import Batch
from mmal.scoring.data import ScoringData
from mmal.scoring.dense.aggregation import aggregate
from mmal.scoring.dense.roi_probabilities import is_two_stage
from mmal.scoring.detector import class_boxes, final_head
from mmal.scoring.options import check_choice, check_score_thr
from mmal.selection.detection_rows import pack_detections
from mmal.uncertainty import (
    binary_entropy,
    difficulty_weight,
    match_quality,
)
from .describe import check_described, describe, feature_layers
from .predict import (
    by_class,
    check_detections,
    confident,
    detect,
    padded,
)

_KEY = 'active_learning.scorer'
DIFFICULTIES = ('training', 'labelled')


@TASK_UTILS.register_module()
class DifficultyCalibratedScorer(BaseScorer):
    r"""The entropies of an image's detections, each times the weight of its
    class.

    Yang et al., "Plug and Play Active Learning for Object Detection", CVPR
    2024, first stage (difficulty calibrated uncertainty sampling):

    .. math:: U = \sum_i w_{c_i} H(p_i), \quad
        w_c = 1 + \alpha \beta \log(1 + (e^{1/\alpha} - 1) d_c)

    over the detections i with scores :math:`p_i` of at least ``score_thr``
    and classes :math:`c_i`; H is the binary entropy in nats and :math:`d_c`
    the difficulty of a class, 1 where it is not known. An image without a
    detection comes last.

    ``class_scores`` [num_classes] are the same sum over the detections of
    each class, ``-inf`` where there is none.

    It also gives the best detections of each image, class, score and feature,
    for ``mmal.CategoryMatching``, in the rows of
    :mod:`mmal.selection.detection_rows`, from the same forward pass. A
    feature is what the layer that gives the classes sees at the position (the
    proposal) of the detection. The published code interpolates the same maps
    at the middle of the box.

    Cost: one forward pass; with the difficulty of labelled images one more of
    each of these.

    Args:
        difficulty (str): 'training' takes what ``mmal.ClassDifficultyHook``
            (``custom_hooks``) has followed while the detector was trained.
            Where there is nothing of the kind, as in a single query, the
            trained detector looks at the labelled images, and a warning says
            so; 'labelled' always asks for this: d is then one minus the mean
            quality of all matches of a class. It is lower, as they were
            trained on.
        score_thr (float): Detections with at least this score count.
        alpha (float): > 0.
        beta (float): >= 0; 0 weights all classes alike.
        xi (float): Share of the class in the quality of a match, in [0, 1],
            where labelled images are looked at; that of training is the
            hook's.
        max_detections (int): K, so many detections of an image at most are
            kept for the selector; 0 keeps none, and asks nothing of the
            detector but scores. The published code's is 100.

    Raises:
        ValueError: If a key is none of these.
    """

    needs_labels = True
    gives_class_scores = True

    def __init__(self,
                 difficulty: str = 'training',
                 score_thr: float = 0.05,
                 alpha: float = 0.3,
                 beta: float = 0.2,
                 xi: float = 0.6,
                 max_detections: int = 100) -> None:
        check_choice('difficulty', difficulty, DIFFICULTIES)
        check_score_thr(score_thr)
        if not 0.01 <= alpha < math.inf:  # exp(1 / alpha) must be a number
            raise ValueError(f'{_KEY}.alpha is {alpha}: give a number of at '
                             'least 0.01.')
        if not 0 <= beta < math.inf:
            raise ValueError(f'{_KEY}.beta is {beta}: give a number of at '
                             'least 0.')
        if not 0 <= xi <= 1:
            raise ValueError(f'{_KEY}.xi is {xi}: give a number from 0 to 1.')
        if max_detections < 0:
            raise ValueError(f'{_KEY}.max_detections is {max_detections}: '
                             'give a number of at least 0.')
        self.difficulty = difficulty
        self.score_thr = score_thr
        self.alpha = alpha
        self.beta = beta
        self.xi = xi
        self.max_detections = max_detections
        self.needs_embeddings = max_detections > 0
        self.embeds = 'detections' if self.needs_embeddings else None
        self._layers: tuple[str, ...] = ()
        self._weights: Optional[Tensor] = None

    def check(self, model: nn.Module, data: ScoringData) -> None:
        """Detect on a blank image, and look for features and losses."""
        check_detections(model)
        if self.max_detections:
            check_described(model)
            feature_layers(model)
        # made to see whether the head has losses to read, and never entered
        MatchRecorder(final_head(model), lambda *matches: None)
        if self.difficulty == 'labelled' and is_two_stage(model):
            raise ValueError(
                f"{_KEY}.difficulty is 'labelled', but what a "
                f'{type(model).__name__} matches is drawn at random: add '
                "dict(type='mmal.ClassDifficultyHook') to custom_hooks and "
                "set it to 'training'.")

    def prepare(self, model: nn.Module, data: ScoringData) -> None:
        """Weight the classes, and find the layers that features are of."""
        difficulty = getattr(final_head(model), 'class_difficulty', None)
        if difficulty is None or self.difficulty == 'labelled':
            difficulty = self._labelled_difficulty(model, data)
            if self.difficulty == 'training':
                print_log(
                    f"{_KEY}.difficulty is 'training', but the detector does "
                    'not carry what mmal.ClassDifficultyHook follows in a '
                    'run: the difficulty of classes is that of the labelled '
                    'images, which is lower. Add the hook to custom_hooks, '
                    f"or set {_KEY}.difficulty='labelled'.",
                    'current', logging.WARNING)
        self._weights = difficulty_weight(difficulty, self.alpha, self.beta)
        if self.max_detections:
            self._layers = feature_layers(model)

    @torch.no_grad()
    def process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Score one batch.

        Returns:
            dict[str, Tensor]: ``score`` [B], ``class_scores``
            and ``class_boxes`` [B, num_classes], the number of
            ``detections`` [B] and, with ``max_detections``, ``embedding``
            [B, 1 + K (2 + D)].
        """
        detections = describe(model, batch, self._layers) if self._layers \
            else detect(model, batch)
        keep = confident(detections, self.score_thr)
        labels = padded(detections, 'labels', 0).long()
        scores = padded(detections, 'scores')
        weights = self._weights.to(labels.device)
        entropies = weights[labels] * binary_entropy(scores)

        of_class = by_class(detections, keep, len(weights))
        rows = dict(
            score=aggregate(entropies, 'sum', keep),
            class_scores=aggregate(
                entropies[:, None].expand(of_class.shape), 'sum', of_class),
            detections=keep.sum(1),
            class_boxes=class_boxes(detections, len(weights)))
        if self.max_detections:
            rows['embedding'] = pack_detections(
                labels, scores, padded(detections, 'features'), keep,
                self.max_detections)
        return rows

    @torch.no_grad()
    def _labelled_difficulty(self, model: nn.Module,
                             data: ScoringData) -> Tensor:
        """float64 [C], from the matches of all labelled images."""
        if is_two_stage(model) or 'labelled' not in data.splits:
            raise ValueError(
                f'{_KEY} is a DifficultyCalibratedScorer, but nobody knows '
                'how difficult the classes are: add '
                "dict(type='mmal.ClassDifficultyHook') to custom_hooks"
                + ('.' if is_two_stage(model) else ', or name labelled '
                   'images.'))
        head = model.bbox_head
        sums = torch.zeros(2, head.num_classes, dtype=torch.float64,
                           device=next(model.parameters()).device)

        def add(labels: Tensor, probs: Tensor, ious: Tensor) -> None:
            nonlocal sums
            sums = sums + class_sums(
                labels, match_quality(probs, ious, self.xi), head.num_classes)

        ids = data.trained_ids('labelled')
        with MatchRecorder(head, add), local_losses():
            for batch in data.batches('labelled', model, ids,
                                      desc='difficulty of classes'):
                outputs = training_outputs(
                    head, head_outputs(model, batch.inputs))
                head.loss_by_feat(
                    *outputs,
                    batch_gt_instances=[s.gt_instances
                                        for s in batch.samples],
                    batch_img_metas=[s.metainfo for s in batch.samples],
                    batch_gt_instances_ignore=ignored_by_image(batch.samples))
        all_reduce(sums)
        quality, number = sums
        return 1 - quality / number.clamp(min=1)
