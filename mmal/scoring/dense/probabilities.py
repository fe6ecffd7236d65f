"""Class probabilities of every anchor or point of a one-stage detector."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Callable, Optional

from mmdet.models.dense_heads import (
    ATSSHead,
    AutoAssignHead,
    FCOSHead,
    RetinaHead,
    SSDHead,
    TOODHead,
    YOLOV3Head,
    YOLOXHead,
)
from mmdet.models.detectors import SingleStageDetector
from torch import Tensor, nn

from mmal.models.committees import Member
from mmal.models.utils import flatten_levels
from mmal.scoring.batch import Batch
from mmal.types import Outputs
from mmal.uncertainty import (
    at_least_float32,
    binary_entropy,
    categorical_entropy,
)


def class_probabilities(model: nn.Module,
                        outputs: Outputs,
                        background: bool = False) -> Tensor:
    """Read class probabilities of all P anchors (points) of all levels.

    Supported are heads with a method ``class_probabilities(*outputs)``
    ([B, P, C], background last if there is one) and these of mmdet with their
    subclasses: RetinaNet, FCOS and ATSS, sigmoid or softmax of the class
    outputs alone, without centerness; SSD, softmax; YOLOv3 and YOLOX,
    objectness times class probability. Positions in the padding of an image
    count like all others.

    Args:
        model (nn.Module): A single-stage detector.
        outputs (Outputs): What ``bbox_head.forward`` returns, B images.
        background (bool): Whether the background of softmax heads is kept, as
            the last class. Sigmoid heads have none.

    Returns:
        Tensor: [B, P, C] in [0, 1], float32 or finer; C is ``num_classes``,
        or one more with the background.

    Raises:
        ValueError: If the head is not supported.
    """
    check_dense(model)
    head = model.bbox_head
    if hasattr(head, 'class_probabilities'):
        probs = head.class_probabilities(*outputs)
    else:
        probs = _reader(head)(head, *outputs)
    return probs if background else probs[..., :head.num_classes]


def class_entropy(probs: Tensor, num_classes: int) -> Tensor:
    """Entropy of a categorical distribution, or of C binary ones, in nats.

    Args:
        probs (Tensor): [..., C] in [0, 1]. With C = num_classes + 1 they are
            the classes and the background of a softmax; else each class is
            an outcome of its own and their entropies are summed.
        num_classes (int): Without the background.

    Returns:
        Tensor: [...], in [0, log C] or [0, C log 2].
    """
    if probs.size(-1) == num_classes + 1:
        return categorical_entropy(probs)
    return binary_entropy(probs).sum(-1)


def member_probabilities(model: nn.Module, batch: Batch,
                         committee=None) -> Iterator[Tensor]:
    """Class probabilities with background of each opinion in turn.

    Args:
        model (nn.Module): A single-stage detector.
        batch (Batch): B images.
        committee (BaseCommittee, optional): Whose opinions; the model's own
            when None.

    Yields:
        Tensor: [B, P, C], see :func:`class_probabilities`.

    Raises:
        ValueError: If the members differ in P or C.
    """
    shape = None
    for member in opinion_members(model, batch, committee):
        probs = class_probabilities(
            member.model, member.outputs(), background=True)
        shape = shape or probs.shape
        if probs.shape != shape:
            raise ValueError(
                'active_learning.committee: a member gives '
                f'{_extent(probs.shape)}, the model {_extent(shape)}. '
                'Opinions are compared at each position: use members whose '
                'heads have the same strides and anchors, and all softmax or '
                'all sigmoid.')
        yield probs


def opinion_members(model: nn.Module, batch: Batch,
                    committee=None) -> Iterator[Member]:
    """The members of a committee, or the model alone without one."""
    if committee is not None:
        return iter(committee.members(model, batch))
    return iter([Member(model, partial(model.extract_feat, batch.inputs))])


def _extent(shape: Sequence[int]) -> str:
    return (f'{shape[-1]} class probabilities (background included) at '
            f'{shape[-2]} positions')


def check_dense(model: nn.Module, key: str = 'active_learning.scorer') -> None:
    """Raise a ValueError unless :func:`class_probabilities` can read it.

    Args:
        model (nn.Module): A detector.
        key (str): Who reads it, for the message.
    """
    head = getattr(model, 'bbox_head', None)
    own = hasattr(head, 'class_probabilities')
    single = isinstance(model, SingleStageDetector)
    if not single or not own and _reader(head) is None:
        raise ValueError(
            f'{key} reads class probabilities of all anchors, '
            f'which it does not know how to of {type(model).__name__} with '
            f'{type(head).__name__}: use a single-stage detector with '
            f'{", ".join(t.__name__ for t in _READERS)} or a head that has a '
            f'method class_probabilities, or another {key.split(".")[-1]}.')


def _reader(head: nn.Module) -> Optional[Callable]:
    # A loss may decide what the class outputs mean (v3det).
    own_channels = getattr(
        getattr(head, 'loss_cls', None), 'custom_cls_channels', False)
    if isinstance(head, _OTHERWISE) or own_channels:
        return None
    readers = (r for t, r in _READERS.items() if isinstance(head, t))
    return next(readers, None)


def _plain(head: nn.Module, cls_scores: Sequence[Tensor], *others) -> Tensor:
    logits = _rows(cls_scores, head.cls_out_channels)
    return logits.sigmoid() if head.use_sigmoid_cls else logits.softmax(-1)


def _yolov3(head: nn.Module, pred_maps: Sequence[Tensor]) -> Tensor:
    rows = _rows(pred_maps, head.num_attrib)
    return rows[..., 4:5].sigmoid() * rows[..., 5:].sigmoid()


def _yolox(head: nn.Module, cls_scores: Sequence[Tensor], bbox_preds,
           objectnesses: Sequence[Tensor]) -> Tensor:
    classes = _rows(cls_scores, head.cls_out_channels).sigmoid()
    return classes * _rows(objectnesses, 1).sigmoid()


def _rows(levels: Sequence[Tensor], channels: int) -> Tensor:
    return at_least_float32(flatten_levels(levels, channels))


_READERS = {
    RetinaHead: _plain,
    FCOSHead: _plain,
    ATSSHead: _plain,
    SSDHead: _plain,
    YOLOV3Head: _yolov3,
    YOLOXHead: _yolox,
}
# Inherit from the above, but their class outputs are probabilities already,
# or mean something only together with other outputs.
_OTHERWISE = (TOODHead, AutoAssignHead)
