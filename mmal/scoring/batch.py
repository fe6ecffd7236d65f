"""A batch of images, ready for the detector."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

import torch
from torch import Tensor, nn

from mmal.types import ImageId


@dataclass
class Batch:
    """B images of one shape, ready for the detector.

    Args:
        ids (list[int | str]): Their image ids.
        inputs (Tensor): [B, 3, H, W], normalised and padded, on the device
            of the model.
        samples (list[DetDataSample]): Their meta data, and ``gt_instances``
            in the coordinates of ``inputs`` if the split has labels.
    """
    ids: list[ImageId]
    inputs: Optional[Tensor] = None
    samples: list = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)


def collate(items: list[dict], model: nn.Module) -> Batch:
    """What a test pipeline made of images of one shape, as a batch.

    Args:
        items (list[dict]): ``inputs`` and ``data_samples`` of each.
        model (nn.Module): The detector; its data preprocessor is used.
    """
    # The preprocessor would wait for each image: for its arrival on the device
    # and, where it swaps channels, for that of their numbers.
    device = next(model.parameters()).device
    inputs = [item['inputs'].to(device, non_blocking=True) for item in items]
    data = dict(
        inputs=torch.stack(inputs),
        data_samples=[item['data_samples'] for item in items])
    data = model.data_preprocessor(data, training=False)
    samples = data['data_samples']
    return Batch([s.img_id for s in samples], data['inputs'], samples)
