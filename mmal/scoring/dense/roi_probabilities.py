"""Class probabilities of a two-stage detector's proposals."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import torch
from mmdet.models.detectors import TwoStageDetector
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.structures.bbox import bbox2roi
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mmal.models.committees import Member
from mmal.scoring.batch import Batch
from mmal.uncertainty import at_least_float32


def is_two_stage(model: nn.Module) -> bool:
    """Whether a detector classifies proposals of its own."""
    return isinstance(model, TwoStageDetector)


def check_roi(model: nn.Module, key: str = 'active_learning.scorer') -> None:
    """Raise a ValueError unless :func:`roi_probabilities` can read it.

    Args:
        model (nn.Module): A detector.
        key (str): Who reads it, for the message.
    """
    head = getattr(model, 'roi_head', None)
    box_head = getattr(head, 'bbox_head', None)
    loss = getattr(box_head, 'loss_cls', None)
    readable = isinstance(head, StandardRoIHead) and model.with_rpn
    if not readable or getattr(loss, 'custom_activation', False):
        raise ValueError(
            f'{key} reads class probabilities of proposals, '
            f'which it does not know how to of {type(model).__name__} with '
            f'{type(head).__name__} and {type(box_head).__name__}: use a '
            'detector with an RPN, a StandardRoIHead and a softmax (Faster '
            f'R-CNN), a single-stage one, or another {key.split(".")[-1]}.')


def roi_probabilities(
        model: nn.Module, batch: Batch,
        members: Iterator[Member]) -> tuple[Iterator[Tensor], Tensor]:
    """What each member says of the proposals of the first.

    Args:
        model (nn.Module): A two-stage detector.
        batch (Batch): B images with samples.
        members (iterator[Member]): The first is the model.

    Returns:
        tuple: An iterator of class probabilities [B, P, num_classes + 1],
        background last, P proposals at most; and which rows count, bool
        [B, P].
    """
    first = next(members)
    features = first.features()
    # Copies, as mmdet writes its predictions into the samples.
    samples = [sample.new() for sample in batch.samples]
    proposals = model.rpn_head.predict(features, samples, rescale=False)
    boxes = [of_image.bboxes for of_image in proposals]
    mask = pad_sequence([
        torch.ones(len(b), dtype=torch.bool, device=b.device) for b in boxes
    ], batch_first=True)
    # All members judge the proposals of the first one: opinions on regions
    # of their own could not be compared.
    opinions = chain([_probabilities(model, features, boxes)],
                     (_probabilities(m.model, m.features(), boxes)
                      for m in members))
    return opinions, mask


def _probabilities(member: nn.Module, features: Sequence[Tensor],
                   boxes: Sequence[Tensor]) -> Tensor:
    results = member.roi_head._bbox_forward(features, bbox2roi(boxes))
    head = member.roi_head.bbox_head
    if hasattr(head, 'class_probabilities'):
        probs = head.class_probabilities(results['cls_score'])
    else:
        probs = at_least_float32(results['cls_score']).softmax(-1)
    if probs.size(-1) != head.num_classes + 1:
        raise ValueError(
            f'active_learning.scorer reads {head.num_classes} classes and the '
            f'background of each proposal, but {type(head).__name__} gives '
            f'{probs.size(-1)} outputs: choose another scorer for it.')
    rows = probs.split([len(b) for b in boxes])
    return pad_sequence(list(rows), batch_first=True)
