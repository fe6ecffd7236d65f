"""From values of an image's detections or anchors to one number."""
from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor

from mmal.scoring.options import check_choice
from mmal.uncertainty import masked_max

AGGREGATIONS = ('mean', 'max', 'sum')


def aggregate(values: Tensor,
              how: str,
              mask: Optional[Tensor] = None) -> Tensor:
    """Reduce the P values of each image to one.

    Args:
        values (Tensor): [B, ..., P].
        how (str): 'mean', 'max' or 'sum'.
        mask (Tensor, optional): bool of the same shape, which of them count;
            all when None.

    Returns:
        Tensor: float64 [B, ...]; ``-inf`` for an image without a value.

    Raises:
        ValueError: If ``how`` is something else.
    """
    check_choice('aggregation', how, AGGREGATIONS)
    if mask is None:
        if not values.size(-1):
            return values.new_full(
                values.shape[:-1], -float('inf'), dtype=torch.float64)
        # Without a copy in double precision: dense values are millions.
        if how == 'max':
            return values.amax(-1).double()
        return getattr(values, how)(-1, dtype=torch.float64)

    values = values.double()
    count = mask.sum(-1)
    reduced = masked_max(values, mask) if how == 'max' else \
        values.masked_fill(~mask, 0).sum(-1)
    if how == 'mean':
        reduced = reduced / count.clamp(min=1)
    # An image of nothing comes last, whatever the others have: also where
    # the sum of nothing would be 0.
    return reduced.masked_fill(count == 0, -float('inf'))
