"""Final detections of any detector, and a batch of them as tensors."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mmal.scoring.batch import Batch
from mmal.scoring.dense.probabilities import class_entropy
from mmal.scoring.detector import dummy_batch, final_head
from mmal.uncertainty import binary_entropy


@torch.no_grad()
def detect(model: nn.Module, batch: Batch) -> list[InstanceData]:
    """What a detector finds, in the coordinates of the network's input.

    One forward pass of a one- or two-stage detector. The samples of the batch
    are left as they are.

    Args:
        model (nn.Module): An mmdet detector in eval mode.
        batch (Batch): B images.

    Returns:
        list[InstanceData]: ``bboxes`` [n, 4], ``scores`` [n] and ``labels``
        [n] of each image after NMS, and whatever else its head attaches.
    """
    samples = [sample.new() for sample in batch.samples]
    results = model.predict(batch.inputs, samples, rescale=False)
    return [sample.pred_instances for sample in results]


def check_detections(model: nn.Module) -> None:
    """Detect on a blank image.

    Args:
        model (nn.Module): A detector in eval mode.

    Raises:
        ValueError: If it finds no boxes, whatever the image.
    """
    final_head(model)
    try:
        detect(model, dummy_batch(model, box=False))
    except AttributeError as e:
        raise ValueError(
            'active_learning.scorer needs detections, but '
            f'{type(model).__name__} ends with an error: {e}. With '
            "mmdet's SSDHead set model.bbox_head.type='mmal.SSDHead'."
        ) from e


def confident(detections: Sequence[InstanceData], score_thr: float) -> Tensor:
    """Which detections count, in the layout of :func:`padded`.

    Args:
        detections (sequence[InstanceData]): Of B images.
        score_thr (float): The lowest score that counts.

    Returns:
        Tensor: bool [B, n].
    """
    return padded(detections, 'scores', -float('inf')) >= score_thr


def by_class(detections: Sequence[InstanceData], keep: Tensor,
             num_classes: int) -> Tensor:
    """Which detections of each class count.

    Args:
        detections (sequence[InstanceData]): Of B images, with ``labels``.
        keep (Tensor): bool [B, n], which of them count at all, in the layout
            of :func:`padded`.
        num_classes (int): C.

    Returns:
        Tensor: bool [B, C, n].
    """
    labels = padded(detections, 'labels', 0)[:, None]
    numbers = torch.arange(num_classes, device=labels.device)[:, None]
    return keep[:, None] & (labels == numbers)


def padded(detections: Sequence[InstanceData],
           name: str,
           value: float = 0.0) -> Optional[Tensor]:
    """One field of all detections of a batch.

    Args:
        detections (sequence[InstanceData]): Of B images.
        name (str): The field. An image without detections need not have it.
        value (float): What fills the gaps.

    Returns:
        Tensor: [B, n, ...], n detections at most; None if no image has it.
    """
    rows = [d.get(name) for d in detections]
    example = next((r for r in rows if r is not None), None)
    if example is None:
        return None
    return pad_sequence([example[:0] if r is None else r for r in rows],
                        batch_first=True,
                        padding_value=value)


def detection_entropy(detections: Sequence[InstanceData],
                      num_classes: int) -> Tensor:
    """Entropy of the class of each detection, in nats.

    Args:
        detections (sequence[InstanceData]): Of B images; with
            ``class_probs`` the entropy is theirs, see :func:`class_entropy`,
            else the binary entropy of the score.
        num_classes (int): Without the background.

    Returns:
        Tensor: [B, n] in the layout of :func:`padded`, >= 0.
    """
    probs = padded(detections, 'class_probs')
    if probs is None:
        return binary_entropy(padded(detections, 'scores'))
    return class_entropy(probs, num_classes)
