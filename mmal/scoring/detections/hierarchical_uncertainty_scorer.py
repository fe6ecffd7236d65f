"""Epistemic uncertainty of an evidential head, from anchors to the image."""
from __future__ import annotations

import math
from itertools import accumulate
from typing import NamedTuple

import torch
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from torch import Tensor, nn

from mmal.models.utils import flatten_levels, level_grid
from mmal.registry import TASK_UTILS
from mmal.scoring.base import BaseScorer
from mmal.scoring.batch import Batch
from mmal.scoring.data import ScoringData
from mmal.scoring.detector import class_boxes, final_head, predictions
from mmal.scoring.options import check_choice, check_score_thr
from mmal.types import Outputs
from mmal.uncertainty import (
    at_least_float32,
    dirichlet_mutual_information,
    hierarchical_aggregation,
)
from mmal.uncertainty.hierarchy import AGGREGATIONS
from .predict import check_detections, confident, padded

_KEY = 'active_learning.scorer'
# Below it a predicted loss counts as this: its inverse stays finite.
_TINY = 1e-7


@TASK_UTILS.register_module()
class HierarchicalUncertaintyScorer(BaseScorer):
    r"""How little a model knows of the objects that it finds.

    Park et al., "Active Learning for Object Detection with Evidential Deep
    Learning and Hierarchical Uncertainty Aggregation", ICLR 2023, HUA with
    MEH, as far as the code that its authors published tells. The defaults are
    those of that code.

    Each detection of at least ``score_thr`` is an object. Its anchors are
    those whose own box has an IoU above ``iou_thr`` with it and whose largest
    class probability is at least ``score_thr`` too, whatever their class. The
    class probabilities of an anchor are Dirichlet with mean p and total
    evidence

    .. math:: \lambda = E \cdot \bar l / l

    where l is the class loss that the model evidence head predicts,
    :math:`\bar l` its mean over the anchors of all objects on the same
    level, and E is ``evidence``. The uncertainty of an anchor is the mutual
    information of its class and the Dirichlet, in closed form (the published
    code averages 500 samples). It is averaged over anchors of one object,
    level and class, and then aggregated over the classes of a level, the
    levels of an object and the objects of the image. An image without an
    object has 0 and comes last.

    Cost: one forward pass, and that of the model evidence head.

    Args:
        over_classes (str): 'sum', 'mean' or 'max' over the classes of the
            anchors of an object on a level.
        over_levels (str): Likewise over the levels of an object.
        over_objects (str): Likewise over the objects of an image.
        score_thr (float): The lowest score of an object and of an anchor.
        iou_thr (float): In [0, 1).
        evidence (float): E, the total evidence of an anchor whose predicted
            loss is the mean, > 0.

    Raises:
        ValueError: If a key is none of these.
    """

    def __init__(self,
                 over_classes: str = 'sum',
                 over_levels: str = 'max',
                 over_objects: str = 'sum',
                 score_thr: float = 0.3,
                 iou_thr: float = 0.5,
                 evidence: float = 25.0) -> None:
        self.steps = dict(
            over_classes=over_classes,
            over_levels=over_levels,
            over_objects=over_objects)
        for name, step in self.steps.items():
            check_choice(name, step, AGGREGATIONS)
        check_score_thr(score_thr)
        if not 0 <= iou_thr < 1:
            raise ValueError(f'{_KEY}.iou_thr is {iou_thr}: give an IoU of '
                             'at least 0 and below 1.')
        if not 0 < evidence < math.inf:
            raise ValueError(
                f'{_KEY}.evidence is {evidence}: give a number above 0.')
        self.score_thr = score_thr
        self.iou_thr = iou_thr
        self.evidence = evidence

    def check(self, model: nn.Module, data: ScoringData) -> None:
        """Look for a model evidence head, and detect on a blank image."""
        head = final_head(model)
        if not hasattr(head, 'predicted_losses'):
            raise ValueError(
                f'{_KEY} is a HierarchicalUncertaintyScorer, which needs a '
                f'model evidence head, but {type(head).__name__} has none: '
                "set model.bbox_head.type='mmal.EvidentialRetinaHead', or "
                'choose another scorer.')
        check_detections(model)

    @torch.no_grad()
    def process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Score one batch.

        Returns:
            dict[str, Tensor]: ``score`` and the number of ``objects``, [B];
            ``class_boxes`` [B, C].
        """
        feats = model.extract_feat(batch.inputs)
        outputs = model.bbox_head(feats)
        detections = predictions(model, outputs, batch.samples)
        anchors = confident_anchors(
            model, outputs, model.bbox_head.predicted_losses(feats),
            [s.metainfo['img_shape'] for s in batch.samples])

        num_classes = model.bbox_head.num_classes
        best, classes = anchors.probs[..., :num_classes].max(-1)
        objects = confident(detections, self.score_thr)
        overlaps = bbox_overlaps(anchors.boxes, padded(detections, 'bboxes'))
        members = (overlaps > self.iou_thr) & objects[:, None] & (
            best >= self.score_thr)[..., None]

        alpha = self._evidence(anchors, members)[..., None] * anchors.probs
        score = hierarchical_aggregation(
            dirichlet_mutual_information(alpha), members, anchors.levels,
            classes, (anchors.num_levels, num_classes),
            tuple(self.steps.values()))
        return dict(score=score, objects=objects.sum(1),
                    class_boxes=class_boxes(detections, num_classes))

    def _evidence(self, anchors: Anchors, members: Tensor) -> Tensor:
        """Total evidence [B, P]; that of an anchor of no object is E."""
        losses = anchors.losses.clamp(min=_TINY).double()
        of_level = anchors.levels[:, None] == torch.arange(
            anchors.num_levels, device=losses.device)
        # An anchor of two objects counts twice, as in the published code.
        number, of_level = members.sum(-1).double(), of_level.double()
        mean = (number * losses) @ of_level / (
            number @ of_level).clamp(min=1)
        ratio = mean[:, anchors.levels] / losses
        return self.evidence * ratio.masked_fill(number == 0, 1)


class Anchors(NamedTuple):
    """The most confident anchors of B images, P of each.

    Args:
        boxes (Tensor): [B, P, 4], their own predictions inside the image.
        probs (Tensor): [B, P, C], of the classes, background last if there
            is one.
        losses (Tensor): [B, P], what the model evidence head predicts.
        levels (Tensor): int64 [P], sorted.
        num_levels (int): How many there are.
    """
    boxes: Tensor
    probs: Tensor
    losses: Tensor
    levels: Tensor
    num_levels: int


def confident_anchors(model: nn.Module, outputs: Outputs,
                      predicted_losses: list[Tensor],
                      img_shapes: list[tuple[int, int]]) -> Anchors:
    """The ``test_cfg.nms_pre`` most confident anchors of each level.

    Args:
        model (nn.Module): A detector with an evidential head.
        outputs (Outputs): What ``bbox_head.forward`` returns.
        predicted_losses (list[Tensor]): Of the model evidence head.
        img_shapes (list[tuple[int, int]]): Height and width of the images.

    Returns:
        Anchors: Of B images.
    """
    head = model.bbox_head
    probs = head.class_probabilities(*outputs)
    grid = level_grid(head, outputs)
    sizes = [h * w * n for h, w, n in grid]
    limit = (head.test_cfg or {}).get('nms_pre', -1)
    best = probs[..., :head.num_classes].amax(-1)
    numbers = [min(limit, n) if limit > 0 else n for n in sizes]
    starts = [0, *accumulate(sizes)]
    index = torch.cat([
        confidence.topk(number, dim=1).indices + start for confidence, number,
        start in zip(best.split(sizes, 1), numbers, starts)
    ], 1)
    levels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(numbers))

    def rows(values: Tensor) -> Tensor:
        wanted = index[..., None].expand(-1, -1, values.size(-1))
        return values.gather(1, wanted)

    priors = head.prior_generator.grid_priors(
        [(h, w) for h, w, _ in grid], device=probs.device)
    deltas = at_least_float32(flatten_levels(outputs[1], 4))
    boxes = get_box_tensor(head.bbox_coder.decode(
        torch.cat(priors)[index].flatten(0, 1), rows(deltas).flatten(0, 1)))
    # x, y, x, y of the lower right corner of each image
    corner = boxes.new_tensor([[w, h, w, h] for h, w, *_ in img_shapes])
    boxes = boxes.unflatten(0, index.shape).clamp(min=0)
    return Anchors(
        torch.minimum(boxes, corner[:, None]), rows(probs),
        rows(at_least_float32(flatten_levels(predicted_losses, 1)))[..., 0],
        levels.to(probs.device), len(sizes))
