"""Final detections with the class probabilities and features behind them."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import torch
from mmdet.models.detectors import SingleStageDetector
from mmdet.models.layers import multiclass_nms
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmal.models.utils import level_grid
from mmal.models.utils.detection_sources import detection_sources
from mmal.recorder import Recorder
from mmal.scoring.batch import Batch
from mmal.scoring.dense.class_layer_gradients import output_layers
from mmal.scoring.dense.probabilities import check_dense, class_probabilities
from mmal.scoring.dense.roi_probabilities import check_roi, is_two_stage
from mmal.scoring.detector import dummy_batch
from mmal.types import Outputs
from .predict import detect

_KEY = 'active_learning.scorer'


@torch.no_grad()
def feature_layers(model: nn.Module) -> tuple[str, ...]:
    """The layers whose inputs are the features of detections: those that give
    the classes.

    Args:
        model (nn.Module): A detector that :func:`describe` can read.

    Returns:
        tuple[str, ...]: Names in the head that classifies detections.

    Raises:
        ValueError: If the head has no such layers, or their inputs differ in
            width from level to level (SSD).
    """
    if is_two_stage(model):
        return ('fc_cls', )
    head = model.bbox_head
    layers = output_layers(
        model, model.extract_feat(dummy_batch(model).inputs))
    widths = {head.get_submodule(name).in_channels for name in layers}
    if len(widths) > 1:
        raise ValueError(
            f'{_KEY} compares the features of detections, but those of '
            f'{type(head).__name__} have {sorted(widths)} numbers, one of '
            'these on each level: use a detector with an FPN.')
    return tuple(layers)


@torch.no_grad()
def describe(model: nn.Module,
             batch: Batch,
             layers: Sequence[str] = (),
             candidate_iou: Optional[float] = None) -> list[InstanceData]:
    """What a detector finds, and what it saw there: one forward pass.

    Args:
        model (nn.Module): A detector in eval mode that
            :func:`check_described` knows.
        batch (Batch): B images; their samples are left as they are.
        layers (sequence[str]): Of :func:`feature_layers`, for features.
        candidate_iou (float, optional): Of :func:`assigned_boxes`, for
            candidates.

    Returns:
        list[InstanceData]: What :func:`detect` gives, and ``class_probs``
        [n, C], or [n, C + 1] with the background last for softmax heads, of
        the anchor, point or proposal that a detection comes from; without
        centerness. With ``layers`` also ``features`` [n, D], what the class
        layer was given there. With ``candidate_iou`` also ``candidates``
        [n], how many of the boxes that NMS was given are assigned to the
        detection. Single-stage detectors add ``source``, see
        :func:`~mmal.models.utils.detection_sources.detection_sources`.
    """
    if is_two_stage(model):
        return _describe_proposals(model, batch, layers, candidate_iou)
    head = model.bbox_head
    with Recorder({'head': head}) as outputs, \
            Recorder({n: head.get_submodule(n) for n in layers}) as inputs, \
            detection_sources(head) as before:
        detections = detect(model, batch)
    raw = outputs.calls[-1].output
    probs = class_probabilities(model, raw, background=True)
    rows = cells = None
    if layers:
        # a call a level, in their order
        maps = [call.args[0] for call in inputs.calls]
        rows = torch.cat([m.flatten(2).mT for m in maps], 1).float()
        cells = _cells(head, raw, rows.device)
    for image, found in enumerate(detections):
        found.class_probs = probs[image, found.source]
        if layers:
            found.features = rows[image, cells[found.source]]
        if candidate_iou is not None:
            found.candidates = assigned_boxes(
                found, before[image].bboxes, before[image].labels,
                candidate_iou)
    return detections


def assigned_boxes(detections: InstanceData, boxes: Tensor, labels: Tensor,
                   iou_thr: float) -> Tensor:
    """How many boxes belong to each detection of an image.

    A box belongs to that detection of its class which it overlaps most, if
    their IoU is at least ``iou_thr``; of equal ones to the first.

    Args:
        detections (InstanceData): ``bboxes`` [n, 4] and ``labels`` [n].
        boxes (Tensor): [m, 4], x1, y1, x2, y2.
        labels (Tensor): int64 [m].
        iou_thr (float): In (0, 1].

    Returns:
        Tensor: int64 [n]. Costs O(n·m).
    """
    if not len(detections):
        return labels.new_zeros(0)
    overlaps = bbox_overlaps(detections.bboxes, boxes).masked_fill(
        detections.labels[:, None] != labels, -1)
    best, owner = overlaps.max(0)
    rows = torch.arange(len(detections), device=owner.device)
    return ((owner == rows[:, None]) & (best >= iou_thr)).sum(1)


def normalised(class_probs: Tensor) -> Tensor:
    """Class probabilities that add up to 1, which those of sigmoid heads do
    not.

    Args:
        class_probs (Tensor): [..., P], at least 0.

    Returns:
        Tensor: float64 [..., P]; zeros, as of padding, stay zeros.
    """
    probs = class_probs.double()
    total = probs.sum(-1, keepdim=True)
    return probs / total.clamp(min=torch.finfo(probs.dtype).tiny)


def check_described(model: nn.Module, key: str = _KEY) -> None:
    """Describe what is found on a blank image.

    Args:
        model (nn.Module): A detector in eval mode.
        key (str): Who describes, for the message.

    Raises:
        ValueError: If :func:`describe` cannot read it.
    """
    if is_two_stage(model):
        check_roi(model, key)
    else:
        check_dense(model, key)
    batch = dummy_batch(model, box=False)
    try:
        describe(model, batch)
    except AttributeError as e:
        head = model.bbox_head if isinstance(
            model, SingleStageDetector) else model.roi_head
        raise ValueError(
            f'{key} reads the class probabilities of detections, which it '
            f'does not know how to of {type(model).__name__} with '
            f'{type(head).__name__} ({e}): use FCOSHead, ATSSHead, RetinaHead '
            'or mmal.SSDHead, Faster R-CNN, or another '
            f'{key.split(".")[-1]}.') from e


def _cells(head: nn.Module, outputs: Outputs,
           device: torch.device) -> Tensor:
    """int64 [P], the cell of the maps of all levels that each position is in.
    """
    cells, start = [], 0
    for height, width, anchors in level_grid(head, outputs):
        own = torch.arange(start, start + height * width, device=device)
        cells.append(own.repeat_interleave(anchors))
        start += height * width
    return torch.cat(cells)


def _describe_proposals(
        model: nn.Module, batch: Batch, layers: Sequence[str],
        candidate_iou: Optional[float]) -> list[InstanceData]:
    """:func:`describe` of a two-stage detector."""
    # Copies, as mmdet writes its predictions into the samples.
    samples = [sample.new() for sample in batch.samples]
    maps = model.extract_feat(batch.inputs)
    proposals = model.rpn_head.predict(maps, samples, rescale=False)
    roi_head = model.roi_head
    # Without a test_cfg the head gives the boxes of all classes of each
    # proposal, so NMS can say which proposals it keeps.
    with Recorder({n: roi_head.bbox_head.get_submodule(n)
                   for n in layers}) as inputs:
        raw = roi_head.predict_bbox(
            maps, [s.metainfo for s in samples], proposals,
            rcnn_test_cfg=None, rescale=False)
    numbers = [len(p) for p in proposals]
    rows = inputs.calls[-1].args[0].float().split(numbers) \
        if inputs.calls else None
    cfg, detections = roi_head.test_cfg, []
    for image, of_image in enumerate(raw):
        classes = of_image.scores.size(-1) - 1
        boxes, labels, index = multiclass_nms(
            of_image.bboxes, of_image.scores, cfg.score_thr, cfg.nms,
            cfg.max_per_img, return_inds=True)
        # mmdet lays the boxes of all classes of a proposal side by side
        source = index // classes
        found = InstanceData(
            bboxes=boxes[:, :4], scores=boxes[:, 4], labels=labels,
            class_probs=of_image.scores[source])
        if rows is not None:
            found.features = rows[image][source]
        if candidate_iou is not None:
            given = of_image.scores[:, :-1] > cfg.score_thr
            # [n, 4], or [n, 4 C] where each class has a box of its own
            candidates = of_image.bboxes.unflatten(1, (-1, 4)).expand(
                -1, classes, -1)
            found.candidates = assigned_boxes(
                found, candidates[given], given.nonzero()[:, 1],
                candidate_iou)
        detections.append(found)
    return detections
