"""What a head says of the objects it is trained on, as it is trained."""
from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Callable, NamedTuple, Optional

import torch
from mmdet.models.dense_heads import ATSSHead, FCOSHead
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from torch import Tensor, nn

from mmal.recorder import ModuleCall, Recorder
from mmal.uncertainty import at_least_float32

# Heads whose box loss is given boxes in pixels, whatever reg_decoded_bbox is.
_DECODED = (FCOSHead, ATSSHead)
_KNOWN = 'RetinaHead, FCOSHead, ATSSHead or Shared2FCBBoxHead'


class MatchRecorder(AbstractContextManager):
    """Tells of each match of a training step its class, p and IoU.

    A match is an anchor, a point or a proposal that the head's assigner gives
    to an object. Nothing is computed again: what the head asks its losses for
    says which class each position shall have, what was predicted, and the
    boxes of both, so one step of training is one forward pass. Where these
    boxes are deltas, both are of the same anchor, and the IoU of what a unit
    box makes of them is theirs.

    Reads FCOS, ATSS, RetinaNet and the heads built like them, and the box
    head of Faster R-CNN.

    Args:
        head (nn.Module): With the modules ``loss_cls`` and ``loss_bbox``.
        on_matches (callable): Called with labels int64 [n], the probabilities
            of these [n] and IoUs [n], for each level or step of a head; n may
            be 0.

    Raises:
        ValueError: If the head has no such losses.
    """

    def __init__(self, head: nn.Module,
                 on_matches: Callable[[Tensor, Tensor, Tensor], None]) -> None:
        losses = {name: getattr(head, name, None)
                  for name in ('loss_cls', 'loss_bbox')}
        if not all(isinstance(m, nn.Module) for m in losses.values()):
            raise ValueError(
                f'{type(head).__name__} has no modules loss_cls and '
                'loss_bbox, whose arguments tell how difficult its classes '
                f'are: use {_KNOWN}.')
        self._head = head
        self._on_matches = on_matches
        self._recorder = Recorder(losses, self._look)
        self._matches: Optional[_Matches] = None

    def __enter__(self) -> MatchRecorder:
        self._recorder.__enter__()
        return self

    def __exit__(self, *exc) -> None:
        self._matches = None
        self._recorder.__exit__(*exc)

    @torch.no_grad()
    def _look(self, call: ModuleCall) -> None:
        # The loss of the boxes follows that of the classes, level by level;
        # it is left out where nothing is matched.
        if call.name == 'loss_cls':
            self._matches = self._matched(*call.args[:2])
        elif self._matches is not None:
            matches, self._matches = self._matches, None
            boxes = [at_least_float32(get_box_tensor(b.detach()))
                     for b in call.args[:2]]
            if len(boxes[0]) == matches.number:  # of negatives too
                boxes = [b[matches.rows] for b in boxes]
            self._on_matches(matches.labels, matches.probs, self._ious(*boxes))

    def _matched(self, logits: Tensor, labels: Tensor) -> _Matches:
        head, classes = self._head, self._head.num_classes
        if not (torch.is_tensor(logits) and torch.is_tensor(labels)
                and logits.dim() == 2 and labels.dim() == 1
                and logits.size(1) in (classes, classes + 1)):
            raise ValueError(
                f'{type(head.loss_cls).__name__}, the class loss of '
                f'{type(head).__name__}, is not given logits [n, classes] and '
                'labels [n], which would tell how difficult the classes are: '
                f'use {_KNOWN}.')
        rows = ((labels >= 0) & (labels < classes)).nonzero().squeeze(1)
        own = labels[rows]
        logits = at_least_float32(logits.detach()[rows])
        sigmoid = getattr(head.loss_cls, 'use_sigmoid', False)
        probs = logits.sigmoid() if sigmoid else logits.softmax(-1)
        return _Matches(rows, own, probs.gather(1, own[:, None])[:, 0],
                        len(labels))

    def _ious(self, predicted: Tensor, target: Tensor) -> Tensor:
        head = self._head
        if not (isinstance(head, _DECODED) or head.reg_decoded_bbox):
            # Moving and stretching both boxes changes no IoU, so any anchor
            # will do.
            anchor = predicted.new_tensor([[0., 0., 1., 1.]]).expand_as(
                predicted)
            predicted, target = (
                get_box_tensor(head.bbox_coder.decode(anchor, deltas))
                for deltas in (predicted, target))
        return bbox_overlaps(predicted, target, is_aligned=True)


class _Matches(NamedTuple):
    """The matches among the rows that a class loss was given."""
    rows: Tensor
    labels: Tensor
    probs: Tensor
    number: int  # of all rows


def class_sums(labels: Tensor, values: Tensor, num_classes: int) -> Tensor:
    """Sums of values, and how many there are, of each class.

    Args:
        labels (Tensor): int64 [n] in [0, num_classes).
        values (Tensor): [n].
        num_classes (int): C.

    Returns:
        Tensor: float64 [2, C].
    """
    both = torch.stack([values, torch.ones_like(values)]).double()
    return both.new_zeros(2, num_classes).index_add_(1, labels, both)
