"""Means and standard deviations over all rows of many images."""
from typing import Tuple, Union

import numpy as np
import torch
from torch import Tensor

Array = Union[Tensor, np.ndarray]
Moments = Tuple[int, Tensor, Tensor]


def moments(values: Array) -> Moments:
    """Count, mean and sum of squared deviations of the rows of one image.

    Args:
        values (Tensor | np.ndarray): [n, U].

    Returns:
        tuple[int, Tensor, Tensor]: n, mean [U] and m2 [U], float64; zeros
        for no rows. m2 of equal rows is exactly 0.
    """
    rows = _float64(values)
    if len(rows) == 0:
        return 0, rows.new_zeros(rows.shape[1]), rows.new_zeros(rows.shape[1])
    mean = rows[0] + (rows - rows[0]).mean(dim=0)
    return len(rows), mean, (rows - mean).square().sum(dim=0)


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
    _check_shapes(count, mean, m2)
    kept = count > 0
    if not kept.any():
        return mean.new_zeros(mean.shape[1]), mean.new_zeros(mean.shape[1])
    count, mean, m2 = count[kept, None], mean[kept], m2[kept]
    total = count.sum()
    centre = mean[0] + (count * (mean - mean[0])).sum(dim=0) / total
    between = (count * (mean - centre).square()).sum(dim=0)
    return centre, ((m2.sum(dim=0) + between) / total).sqrt()


def _float64(x: Array) -> Tensor:
    return torch.as_tensor(x).to(torch.float64)


def _check_shapes(count: Tensor, mean: Tensor, m2: Tensor) -> None:
    fits = (
        count.dim() == 1 and mean.dim() == 2 and mean.shape == m2.shape
        and len(mean) == len(count))
    if not fits:
        raise ValueError(
            f'moments of {tuple(count.shape)} counts, {tuple(mean.shape)} '
            f'means and {tuple(m2.shape)} squared deviations: give [N], '
            '[N, U] and [N, U].')
