"""CALD: detections that agree too little with those of changed images."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Optional

import torch
from mmdet.models import DetDataPreprocessor
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor, nn

from mmal.registry import TASK_UTILS
from mmal.scoring.base import BaseScorer
from mmal.scoring.batch import Batch
from mmal.scoring.data import ScoringData
from mmal.scoring.detector import class_boxes, final_head
from mmal.scoring.options import check_choice, check_score_thr
from mmal.uncertainty import jensen_shannon
from .augment import AUGMENTATIONS, augmented
from .describe import check_described, describe, normalised
from .predict import confident, padded

_KEY = 'active_learning.scorer'
EMPTY = ('first', 'last')


@TASK_UTILS.register_module()
class ConsistencyScorer(BaseScorer):
    r"""How little an image's detections agree with those after it is changed.

    Yu et al., "Consistency-based Active Learning for Object Detection"
    (CALD), 2022. A detection with the class distribution p is compared with
    that detection of the changed image which overlaps it most, with the
    distribution q:

    .. math:: m = IoU + \tfrac12 (1 - JS(p, q)) (\max_c p_c + \max_c q_c)

    JS is the Jensen-Shannon divergence in nats. An image is informative if
    some m is near :math:`\beta`, neither perfect nor hopeless:

    .. math:: M = \operatorname{mean}_{a} \min_k |m_{ak} - \beta|

    over the augmentations a and the detections k; the score is -M. m is 0
    where nothing overlaps a detection (in the published code, 1 - JS with an
    arbitrary one). As there, an augmentation after which nothing is found
    counts 0, the most informative, and so does an image without a detection,
    unless ``empty`` is 'last'.

    ``class_distance`` is the second stage, for ``mmal.Quota``: the JS
    divergence of the softmax of the labelled images' mean class counts and
    the softmax of the largest score of each class in the image, in the mean
    over the image and its changed copies. Images of other classes than those
    labelled so far are to be taken; ``inf`` for an image without a detection.

    Distributions of sigmoid heads are divided by their sums.

    Cost: 1 + A forward passes an image, A the number of augmentations.

    Args:
        augmentations (sequence[str]): Some of 'flip', 'cutout', 'downsize',
            'rotate' and 'noise', see
            :func:`~mmal.scoring.detections.augment.augmented`.
        beta (float): In [0, 2].
        score_thr (float): Detections of the image itself with at least this
            score count; those of the changed images all count.
        empty (str): Whether images without a detection come 'first' or
            'last'.

    Raises:
        ValueError: If a key is none of these.
    """

    needs_labels = True
    may_be_negative = True
    gives_columns = ('class_distance', )

    def __init__(self,
                 augmentations: Sequence[str] = ('flip', 'cutout', 'downsize',
                                                 'rotate'),
                 beta: float = 1.3,
                 score_thr: float = 0.05,
                 empty: str = 'first') -> None:
        check_score_thr(score_thr)
        check_choice('empty', empty, EMPTY)
        if isinstance(augmentations, str) or not augmentations or len(
                set(augmentations)) < len(augmentations):
            raise ValueError(
                f'{_KEY}.augmentations is {augmentations!r}: give some of '
                f'{", ".join(map(repr, AUGMENTATIONS))}, each once.')
        for name in augmentations:
            check_choice('augmentations', name, AUGMENTATIONS)
        if not 0 <= beta <= 2:
            raise ValueError(f'{_KEY}.beta is {beta}: give a number from 0 to '
                             '2, as m is.')
        self.augmentations = tuple(augmentations)
        self.beta = beta
        self.score_thr = score_thr
        self.empty = empty
        self._key = (0, 0)
        self._labelled: Optional[Tensor] = None

    def check(self, model: nn.Module, data: ScoringData) -> None:
        """Detect on a blank image."""
        check_described(model)
        preprocessor = getattr(model, 'data_preprocessor', None)
        if not isinstance(preprocessor, DetDataPreprocessor):
            raise ValueError(
                f'{_KEY} is a ConsistencyScorer, which changes the pixels and '
                'needs a DetDataPreprocessor to know their normalisation, but '
                f'the model has a {type(preprocessor).__name__}: choose '
                'another scorer.')

    def prepare(self, model: nn.Module, data: ScoringData) -> None:
        """Count the labelled boxes, and take seed and round."""
        self._key = (data.seed, data.round)
        counts = torch.from_numpy(data.class_counts('labelled')[0]).double()
        # an empty set says nothing of any class
        self._labelled = counts.sum(0) / max(1, len(counts))

    @torch.no_grad()
    def process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Score one batch.

        Returns:
            dict[str, Tensor]: ``score``, ``class_distance`` and the number of
            ``detections``, all [B]; ``class_boxes`` [B, C].
        """
        classes = final_head(model).num_classes
        detections = describe(model, batch)
        boxes = padded(detections, 'bboxes')
        keep = confident(detections, self.score_thr)
        probs, best = _distributions(detections, classes)
        class_scores = [_class_scores(detections, classes)]
        distances = []
        for name in self.augmentations:
            changed, moved = augmented(name, batch, boxes, keep, model,
                                       *self._key)
            changed_detections = describe(model, changed)
            class_scores.append(_class_scores(changed_detections, classes))
            others, other_best = _distributions(changed_detections, classes)
            if not keep.size(1) or not others.size(1):
                # nothing to compare in the whole batch: before the change,
                # which is dealt with below, or after it
                distances.append(best.new_zeros(len(batch)))
                continue
            iou, index = bbox_overlaps(
                moved,
                padded(changed_detections, 'bboxes')).double().max(-1)
            partner = others.gather(
                1, index[..., None].expand(-1, -1, others.size(-1)))
            agreement = iou + (1 - jensen_shannon(probs, partner)) * (
                best + other_best.gather(1, index)) / 2
            agreement = agreement.masked_fill(iou <= 0, 0)
            distance = (agreement - self.beta).abs().masked_fill(
                ~keep, math.inf).amin(1)
            lost = torch.tensor([len(d) == 0 for d in changed_detections],
                                device=keep.device)
            distances.append(distance.masked_fill(lost, 0))

        nothing = ~keep.any(1)
        value = 0. if self.empty == 'first' else -math.inf
        score = -torch.stack(distances).mean(0)
        # how far the classes that are seen are from those labelled so far
        seen = torch.stack(class_scores).mean(0).softmax(-1)
        labelled = self._labelled.to(seen.device).softmax(-1)
        class_distance = jensen_shannon(labelled.expand_as(seen), seen)
        return dict(
            score=score.masked_fill(nothing, value),
            class_distance=class_distance.masked_fill(
                nothing, math.inf if self.empty == 'first' else -math.inf),
            detections=keep.sum(1),
            class_boxes=class_boxes(detections, classes))


def _distributions(detections: Sequence,
                   classes: int) -> tuple[Tensor, Tensor]:
    """Class distributions [B, n, P] that add up to 1, and the probability of
    the likeliest class [B, n], float64."""
    probs = padded(detections, 'class_probs')
    return normalised(probs), probs[..., :classes].double().amax(-1)


def _class_scores(detections: Sequence, classes: int) -> Tensor:
    """float64 [B, C], the largest score of each class, 0 without one."""
    scores = padded(detections, 'scores').double()
    labels = padded(detections, 'labels', 0).long()
    return scores.new_zeros(len(scores), classes).scatter_reduce(
        1, labels, scores, 'amax')
