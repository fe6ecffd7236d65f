"""AL-SSL: detections that are uncertain, and others in the mirror."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from mmal.models.utils import head_outputs, level_grid
from mmal.registry import TASK_UTILS
from mmal.scoring.base import BaseScorer
from mmal.scoring.batch import Batch
from mmal.scoring.data import ScoringData
from mmal.scoring.dense.aggregation import aggregate
from mmal.scoring.dense.probabilities import (
    check_dense,
    class_entropy,
    class_probabilities,
)
from mmal.scoring.detector import class_boxes
from mmal.scoring.options import check_choice, check_score_thr
from mmal.types import Outputs
from mmal.uncertainty import symmetric_divergence
from .describe import check_described, describe
from .predict import confident, padded

AGGREGATIONS = ('max', 'mean', 'sum')


@TASK_UTILS.register_module()
class FlipInconsistencyScorer(BaseScorer):
    r"""Entropy times inconsistency of an image and its mirror image.

    The acquisition score of Elezi et al., "Not All Labels Are Equal:
    Rationalizing the Labeling Costs for Training Object Detection" (AL-SSL),
    CVPR 2022, without its semi-supervised training. A detection has the
    entropy of the class probabilities p of its anchor (point), and the
    inconsistency

    .. math:: \tfrac12 KL(p \| q) + \tfrac12 KL(q \| p)

    with the probabilities q at the mirrored place of the maps of the mirrored
    image, as in the code that its authors published. Of sigmoid heads each
    class is an outcome of its own, and both are summed over the classes. The
    score of an image is the product of what the detections' entropies and
    their inconsistencies are aggregated to. An image without a detection
    comes last.

    In that code both are the maxima, but ``combined`` is no product: it
    takes the images of most inconsistency among those of most entropy. The
    columns ``entropy`` and ``inconsistency`` let ``mmal.TwoStage`` of two
    ``mmal.Quota`` do this.

    Works with single-stage detectors. Cost: one forward pass of the image
    and one of its mirror image.

    Args:
        aggregation (str): 'max' (paper), 'mean' or 'sum' over the detections.
        score_thr (float): Detections with at least this score count.

    Raises:
        ValueError: If a key is none of these.
    """

    gives_columns = ('entropy', 'inconsistency')

    def __init__(self,
                 aggregation: str = 'max',
                 score_thr: float = 0.05) -> None:
        check_choice('aggregation', aggregation, AGGREGATIONS)
        check_score_thr(score_thr)
        self.aggregation = aggregation
        self.score_thr = score_thr

    def check(self, model: nn.Module, data: ScoringData) -> None:
        """Detect on a blank image."""
        check_dense(model)  # proposals have no maps to mirror
        check_described(model)

    @torch.no_grad()
    def process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Score one batch.

        Returns:
            dict[str, Tensor]: ``score``, its factors ``entropy`` and
            ``inconsistency``, ``-inf`` without a detection, and the number of
            ``detections``, all [B]; ``class_boxes`` [B, C].
        """
        detections = describe(model, batch)
        # Padding is flipped along, so that positions lie opposite each other.
        outputs = head_outputs(model, batch.inputs.flip(-1))
        mirrored = class_probabilities(model, outputs, background=True)
        opposite = opposite_positions(
            model.bbox_head, outputs).to(mirrored.device)
        for image, found in enumerate(detections):
            found.mirrored = mirrored[image, opposite[found.source]]

        keep = confident(detections, self.score_thr)
        probs = padded(detections, 'class_probs')
        others = padded(detections, 'mirrored')
        classes = model.bbox_head.num_classes
        if probs.size(-1) == classes + 1:
            inconsistency = symmetric_divergence(probs, others)
        else:  # of each class: there, or not
            inconsistency = symmetric_divergence(*(
                torch.stack([p, 1 - p], -1) for p in (probs, others))).sum(-1)
        entropy, inconsistency = (
            aggregate(values, self.aggregation, keep)
            for values in (class_entropy(probs, classes), inconsistency))
        nothing = entropy.isneginf()  # the product of both would be inf
        return dict(
            score=torch.where(nothing, entropy, entropy * inconsistency),
            entropy=entropy,
            inconsistency=inconsistency,
            detections=keep.sum(1),
            class_boxes=class_boxes(detections, classes))


def opposite_positions(head: nn.Module, outputs: Outputs) -> Tensor:
    """The position that lies opposite each one in mirrored maps.

    Args:
        head (nn.Module): A head with a ``prior_generator``, whose priors are
            the same at every place of a level.
        outputs (Outputs): What it returned.

    Returns:
        Tensor: int64 [P], rows of mmdet's order.
    """
    opposite, start = [], 0
    for height, width, anchors in level_grid(head, outputs):
        number = height * width * anchors
        own = torch.arange(start, start + number)
        opposite.append(own.view(height, width, anchors).flip(1).flatten())
        start += number
    return torch.cat(opposite)
