"""PAL: whether a detection is right, as labelled images teach it."""
from __future__ import annotations

import logging
import math
from typing import Optional

import numpy as np
import torch
from mmengine.dist import all_gather_object
from mmengine.logging import print_log
from torch import Tensor, nn

from mmal.evaluation.calibration import match_to_truth
from mmal.models.utils.per_image import ignored_by_image
from mmal.registry import TASK_UTILS
from mmal.scoring.base import BaseScorer
from mmal.scoring.batch import Batch
from mmal.scoring.data import ScoringData
from mmal.scoring.dense.aggregation import aggregate
from mmal.scoring.detector import class_boxes, final_head
from mmal.scoring.options import check_score_thr
from mmal.uncertainty import binary_entropy, categorical_entropy
from .describe import check_described, describe, normalised
from .logistic import fit_logistic
from .predict import by_class, confident, padded

_KEY = 'active_learning.scorer'


@TASK_UTILS.register_module()
class LogisticUncertaintyScorer(BaseScorer):
    r"""The largest entropy of an image's detections, where the probability
    that a detection is right is learnt from the labelled images.

    Sharma, Bersamin and Subramanian, "Portable Active Learning for Object
    Detection" (PAL), CVPR 2026, its logistic instance uncertainty (LIUS).
    Detections on the labelled images are right or false alarms, as COCO
    counts. For each class a logistic regression gives

    .. math:: P(right) = \sigma(b_c + w_{c1} x_1 + w_{c2} x_2)

    from the number :math:`x_1` of boxes before NMS that are assigned to the
    detection (:func:`~mmal.scoring.detections.describe.assigned_boxes`) and
    its score :math:`x_2`. The uncertainty of a detection is the binary
    entropy of P in bits, that of an image the largest one of its detections;
    an image without a detection comes last. A class with fewer than
    ``min_detections`` on the labelled images, or with right ones or false
    alarms alone, takes the regression of all classes together. Where these
    have only one kind, P is the score. A warning names such classes.

    ``class_scores`` [num_classes] are the largest uncertainties of each
    class, ``-inf`` where there is none. For ``mmal.ClassBudgets`` it also
    keeps of each image ``class_weights`` [num_classes], the weight (eq. 5)

    .. math:: r_c = 1 - \tfrac12 (n_{c,l} / N_l + n_{c,u} / N_u)

    of each class that it shows and 0 for others, with the labelled boxes
    :math:`n_{c,l}` and the detections :math:`n_{c,u}` on the candidates, and
    ``weighted_entropy``, the sum over the detections i of
    :math:`r_{c_i} H(p_i)`, H the entropy of their class distribution in nats
    (CWIE, eq. 7; the probabilities of sigmoid heads divided by their sum).

    Cost: one forward pass, and one of each labelled image.

    Args:
        score_thr (float): Detections with at least this score count.
        iou_thr (float): The lowest IoU of a box before NMS with its
            detection, and of a right detection with its object, in (0, 1].
        min_detections (int): The fewest of a class to fit it, at least 2.
        penalty (float): Of the ridge, see
            :func:`~mmal.scoring.detections.logistic.fit_logistic`, > 0.

    Raises:
        ValueError: If a key is none of these.
    """

    needs_labels = True
    gives_class_scores = True
    gives_class_weights = True

    def __init__(self,
                 score_thr: float = 0.05,
                 iou_thr: float = 0.5,
                 min_detections: int = 10,
                 penalty: float = 1.0) -> None:
        check_score_thr(score_thr)
        if not 0 < iou_thr <= 1:
            raise ValueError(f'{_KEY}.iou_thr is {iou_thr}: give an IoU above '
                             '0 and up to 1.')
        if min_detections < 2:
            raise ValueError(f'{_KEY}.min_detections is {min_detections}: '
                             'give at least 2, a right one and a false one.')
        if not 0 < penalty < math.inf:
            raise ValueError(f'{_KEY}.penalty is {penalty}: give a number '
                             'above 0.')
        self.score_thr = score_thr
        self.iou_thr = iou_thr
        self.min_detections = min_detections
        self.penalty = penalty
        self._lines: Optional[Tensor] = None  # float64 [C, 3]
        self._labelled: Optional[np.ndarray] = None

    def check(self, model: nn.Module, data: ScoringData) -> None:
        """Detect on a blank image."""
        check_described(model)

    def prepare(self, model: nn.Module, data: ScoringData) -> None:
        """Count the labelled boxes, and fit the classes."""
        counts, names = data.class_counts('labelled')
        self._labelled = counts.sum(0)
        rows = self._labelled_detections(model, data)
        labels, features = rows[:, 0].astype(np.int64), rows[:, 1:3]
        right = rows[:, 3] == 1
        self._lines = None
        if not 0 < right.sum() < len(right):
            print_log(
                f'none of the {len(right)} detections on the labelled images '
                f'is {"a false alarm" if right.any() else "right"}: the '
                'uncertainty of detections is the entropy of their scores.',
                'current', logging.WARNING)
            return
        pooled = fit_logistic(features, right, self.penalty)
        lines, unfit = [], []
        for label, name in enumerate(names):
            own = labels == label
            if own.sum() >= self.min_detections and \
                    0 < right[own].sum() < own.sum():
                lines.append(fit_logistic(features[own], right[own],
                                          self.penalty))
            else:
                lines.append(pooled)
                unfit.append(name)
        self._lines = torch.from_numpy(np.stack(lines))
        if unfit:
            print_log(
                f'the labelled images show fewer than {self.min_detections} '
                'detections of a class, or right ones or false alarms alone, '
                f'of {", ".join(unfit)}: their uncertainty is that which all '
                'classes together teach.', 'current', logging.WARNING)

    @torch.no_grad()
    def process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Score one batch.

        Returns:
            dict[str, Tensor]: ``score`` and the number of ``detections`` [B];
            ``class_scores``, ``class_detections``, their number,
            ``class_entropies``, the sums of their entropies, and
            ``class_boxes`` [B, num_classes].
        """
        classes = final_head(model).num_classes
        detections = describe(model, batch, candidate_iou=self.iou_thr)
        keep = confident(detections, self.score_thr)
        of_class = by_class(detections, keep, classes)
        probs = scores = padded(detections, 'scores').double()
        if self._lines is not None:
            labels = padded(detections, 'labels', 0).long()
            intercept, of_count, of_score = self._lines.to(
                scores.device)[labels].unbind(-1)
            probs = (intercept + of_score * scores + of_count
                     * padded(detections, 'candidates')).sigmoid()
        values = binary_entropy(probs) / math.log(2)
        entropies = categorical_entropy(
            normalised(padded(detections, 'class_probs')))
        return dict(
            score=aggregate(values, 'max', keep),
            class_scores=aggregate(
                values[:, None].expand(of_class.shape), 'max', of_class),
            detections=keep.sum(1),
            class_detections=of_class.sum(-1),
            class_entropies=(of_class * entropies[:, None]).sum(-1),
            class_boxes=class_boxes(detections, classes))

    def kept_columns(self,
                     columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Also ``class_weights`` [N, num_classes] and ``weighted_entropy``
        [N], which need the classes of the whole pool."""
        shown = columns.get('class_detections')
        if shown is None:  # there is no image
            return columns
        weights = class_weights(self._labelled, shown.sum(0))
        return dict(
            columns,
            class_weights=(shown > 0) * weights,
            weighted_entropy=(columns['class_entropies'] * weights).sum(1))

    @torch.no_grad()
    def _labelled_detections(self, model: nn.Module,
                             data: ScoringData) -> np.ndarray:
        """float64 [n, 4], class, x_1, x_2 and whether it is right of each
        detection on the labelled images, in the order of these."""
        of_image = {}
        for batch in data.batches('labelled', model,
                                  desc='detections of labelled images'):
            detections = describe(model, batch, candidate_iou=self.iou_thr)
            ignored = ignored_by_image(batch.samples)
            for image, found, sample, aside in zip(
                    batch.ids, detections, batch.samples, ignored):
                found = found[found.scores >= self.score_thr]
                truth = [sample.gt_instances]
                if aside is not None:
                    truth.append(aside)
                boxes, labels = (
                    np.concatenate([t[key].cpu().numpy() for t in truth])
                    for key in ('bboxes', 'labels'))
                match = match_to_truth(
                    *(found[key].cpu().numpy()
                      for key in ('bboxes', 'labels', 'scores')),
                    boxes, labels,
                    np.arange(len(labels)) >= len(truth[0]), self.iou_thr)
                rows = torch.stack([
                    found.labels.double(), found.candidates.double(),
                    found.scores.double()], 1).cpu().numpy()
                # -2: neither right nor wrong
                of_image[image] = np.column_stack(
                    [rows, match >= 0])[match != -2]
        every = {image: rows for of_process in all_gather_object(of_image)
                 for image, rows in of_process.items()}
        return np.concatenate([
            np.zeros((0, 4)),
            *(every[i] for i in data.ids('labelled') if i in every)])


def class_weights(labelled: np.ndarray, detected: np.ndarray) -> np.ndarray:
    """How rare classes are, r_c of :class:`LogisticUncertaintyScorer`.

    Args:
        labelled (np.ndarray): int [C], labelled boxes.
        detected (np.ndarray): int [C], detections on unlabelled images.

    Returns:
        np.ndarray: float64 [C] in [0, 1]; an empty set shows no class.

    Example:
        >>> class_weights(np.array([3, 1]), np.array([0, 5]))
        array([0.625, 0.375])
    """
    shares = [counts / max(1, counts.sum()) for counts in (labelled, detected)]
    return 1 - sum(shares) / 2
