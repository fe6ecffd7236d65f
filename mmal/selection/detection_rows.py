"""What was found in an image, as one row of numbers for each image.

Rows of one width fit the files of embeddings. A row is K, then K classes, K
scores and K features of D numbers, one after another; places that are left
over have a score of 0 and the class -1. K comes first so that a reader needs
no settings.
"""
from __future__ import annotations

from typing import NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor


class DetectionRows(NamedTuple):
    """T detections of N images, those of an image one after another.

    Args:
        images (Tensor): int64 [T], rows of their images, sorted.
        labels (Tensor): int64 [T].
        scores (Tensor): float64 [T], > 0.
        features (Tensor): float64 [T, D].
    """
    images: Tensor
    labels: Tensor
    scores: Tensor
    features: Tensor


def pack_detections(labels: Tensor, scores: Tensor, features: Tensor,
                    keep: Tensor, number: int) -> Tensor:
    """Rows of the best detections of B images.

    Args:
        labels (Tensor): int64 [B, n].
        scores (Tensor): [B, n].
        features (Tensor): [B, n, D].
        keep (Tensor): bool [B, n], which are detections that count.
        number (int): K, at least 1.

    Returns:
        Tensor: float32 [B, 1 + K (2 + D)].

    Example:
        >>> row = pack_detections(torch.tensor([[3]]), torch.tensor([[.5]]),
        ...                       torch.ones(1, 1, 2), torch.ones(1, 1) > 0, 2)
        >>> row.tolist()
        [[2.0, 3.0, -1.0, 0.5, 0.0, 1.0, 1.0, 0.0, 0.0]]
    """
    batch, found, width = features.shape
    if found < number:  # there must be something to choose from
        def more(rows: Tensor) -> Tensor:
            return torch.cat([rows, rows.new_zeros(
                batch, number - found, *rows.shape[2:])], 1)
        labels, scores, features, keep = map(
            more, (labels, scores, features, keep))
    order = torch.where(keep, scores, -torch.inf).sort(
        dim=1, descending=True, stable=True).indices[:, :number]
    keep = keep.gather(1, order)
    features = features.gather(
        1, order[..., None].expand(-1, -1, width)) * keep[..., None]
    return torch.cat([
        features.new_full((batch, 1), number),
        labels.gather(1, order).masked_fill(~keep, -1),
        scores.gather(1, order) * keep,
        features.flatten(1)], 1).float()


def unpack_detections(owner: str, rows: np.ndarray,
                      device: Optional[torch.device] = None) -> DetectionRows:
    """What :func:`pack_detections` packed, with features of length 1.

    Args:
        owner (str): Who asks, for the message.
        rows (np.ndarray): [N, 1 + K (2 + D)], float32 or float16.
        device (torch.device, optional): Where to.

    Returns:
        DetectionRows: Features of 0 stay 0.

    Raises:
        ValueError: If these are no such rows.
    """
    number = int(rows[0, 0]) if rows.size and np.isfinite(rows[0, 0]) else 0
    if rows.ndim != 2 or number < 1 or (rows[:, 0] != number).any() or \
            (rows.shape[1] - 1) % number or rows.shape[1] < 1 + 3 * number:
        raise ValueError(
            f'{owner} needs the detections of each image in its embeddings, '
            f'but was given others (shape {list(rows.shape)}): use a scorer '
            'that gives them, e.g. mmal.DifficultyCalibratedScorer.')
    images, places = np.nonzero(rows[:, 1 + number:1 + 2 * number] > 0)
    width = (rows.shape[1] - 1) // number - 2
    table = rows[:, 1 + 2 * number:].reshape(len(rows), number, width)
    features = torch.from_numpy(np.asarray(table[images, places], np.float64))
    if not features.isfinite().all():
        image = int(images[int((~features.isfinite()).any(1).nonzero()[0])])
        raise ValueError(
            f'{owner}: a feature in row {image} of the embeddings is not '
            'finite: the model overflowed. Check that the training loss is '
            'finite.')
    length = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    tiny = torch.finfo(torch.float64).tiny
    labels = rows[images, 1 + places].astype(np.int64)
    scores = rows[images, 1 + number + places].astype(np.float64)
    return DetectionRows(*(x.to(device) for x in (
        torch.from_numpy(images), torch.from_numpy(labels),
        torch.from_numpy(scores), features / length.clamp(min=tiny))))
