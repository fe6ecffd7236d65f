"""Means and standard deviations over all rows of many images."""
from typing import Dict, Tuple, Union

import numpy as np
import torch
from torch import Tensor

Array = Union[Tensor, np.ndarray]


def image_moments(values: Tensor, keep: Tensor) -> Dict[str, Tensor]:
    """Maximum, mean and sum of squared deviations of each image's values.

    Args:
        values (Tensor): [B, U, n].
        keep (Tensor): bool [B, n], which of them count.

    Returns:
        dict[str, Tensor]: ``max``, ``mean`` and ``m2``, float64 [B, U];
        ``-inf``, 0 and 0 for an image without values. m2 of equal values is
        exactly 0.
    """
    values, keep = values.double(), keep[:, None].expand_as(values)
    count = keep.sum(-1)
    largest = masked_max(values, keep)
    start = largest.masked_fill(count == 0, 0)[..., None]
    # From the maximum on, so that m2 of equal values is 0, not rounding.
    offset = (values - start).masked_fill(~keep, 0)
    mean = offset.sum(-1, keepdim=True) / count.clamp(min=1)[..., None]
    m2 = (offset - mean).masked_fill(~keep, 0).square().sum(-1)
    return dict(max=largest, mean=(start + mean).squeeze(-1), m2=m2)


def masked_max(values: Tensor, keep: Tensor) -> Tensor:
    """The maximum of the values that count.

    Args:
        values (Tensor): [..., n].
        keep (Tensor): bool [..., n], which of them count.

    Returns:
        Tensor: [...], ``-inf`` where none does.
    """
    values = values.masked_fill(~keep, -torch.inf)
    # amax takes no empty dimension.
    nothing = values.new_full((*values.shape[:-1], 1), -torch.inf)
    return torch.cat([values, nothing], -1).amax(-1)


def pooled_moments(count: Array, mean: Array,
                   m2: Array) -> Tuple[Tensor, Tensor]:
    """Mean and population standard deviation over the rows of N images.

    Chan, Golub and LeVeque (1979) for N sets at once: the squared deviations
    inside the images, and those of their means. No sum of squares, so small
    values with a large mean keep their digits.

    Args:
        count (Tensor | np.ndarray): Rows of each image [N], >= 0.
        mean (Tensor | np.ndarray): Their means [N, U]; those of images
            without rows do not matter, even NaN.
        m2 (Tensor | np.ndarray): Their sums of squared deviations [N, U],
            likewise.

    Returns:
        tuple[Tensor, Tensor]: Mean [U] and standard deviation [U], float64;
        zeros if no image has a row.

    Raises:
        ValueError: If the shapes do not fit.

    Example:
        >>> one, two = torch.tensor([[1.], [5.]]), torch.tensor([[0.], [2.]])
        >>> pooled_moments(torch.tensor([1, 2]), one, two)[0]
        tensor([3.6667], dtype=torch.float64)
    """
    count, mean, m2 = _float64(count), _float64(mean), _float64(m2)
    fits = (
        count.dim() == 1 and mean.dim() == 2 and mean.shape == m2.shape
        and len(mean) == len(count))
    if not fits:
        raise ValueError(
            f'moments of {tuple(count.shape)} counts, {tuple(mean.shape)} '
            f'means and {tuple(m2.shape)} squared deviations: give [N], '
            '[N, U] and [N, U].')
    kept = count > 0
    if not kept.any():
        return mean.new_zeros(mean.shape[1]), mean.new_zeros(mean.shape[1])
    count, mean, m2 = count[kept, None], mean[kept], m2[kept]
    total = count.sum()
    # From the first mean on: sums of large numbers that differ little would
    # lose what they differ by.
    centre = mean[0] + (count * (mean - mean[0])).sum(dim=0) / total
    between = (count * (mean - centre).square()).sum(dim=0)
    return centre, ((m2.sum(dim=0) + between) / total).sqrt()


def _float64(x: Array) -> Tensor:
    return torch.as_tensor(x).to(torch.float64)
