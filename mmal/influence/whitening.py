"""Gradients in the metric of a curvature."""
import math
from typing import Mapping

import torch
from torch import Tensor


class Whitening:
    r"""A matrix W with :math:`W^T W = (H + \lambda I)^{-1}`, so that
    :math:`W g \cdot W g' = g^T (H + \lambda I)^{-1} g'`.

    W is the inverse of the Cholesky factor of H + damping * I, block by block
    of H; :meth:`mmal.influence.solvers.BaseSolver.whitening` makes it.

    Args:
        inverses (Mapping[int, Tensor]): By the param index of a layer's
            weight, its blocks [G, k * K, k * K], as in
            :class:`~mmal.influence.operators.blocks.ChannelBlocks`.
        damping (float): The eigenvalue of what has no block, > 0.

    Example:
        >>> half = Whitening({0: torch.full((1, 1, 1), .5)}, damping=1.)
        >>> half(0, torch.ones(2, 1, 1)).flatten()
        tensor([0.5000, 0.5000])
    """

    def __init__(self, inverses: Mapping[int, Tensor],
                 damping: float) -> None:
        self.inverses = inverses
        self.damping = damping

    def __call__(self, index: int, gradients: Tensor) -> Tensor:
        """W times the gradients by a layer's weight and bias.

        O(C k K^2) an image.

        Args:
            index (int): The param index of the weight.
            gradients (Tensor): [B, C, K], with the bias' in the last column.

        Returns:
            Tensor: [B, C, K].
        """
        if index not in self.inverses:  # no loss curves it
            return gradients / math.sqrt(self.damping)
        inverse = self.inverses[index]
        rows = gradients.reshape(len(gradients), len(inverse), -1)
        white = torch.einsum('gij,bgj->bgi', inverse, rows)
        return white.reshape(gradients.shape)
