"""The metric in which steps of training are measured."""
from typing import Mapping

import torch
from torch import Tensor


class StepMetric:
    r"""A matrix W with :math:`W^T W = H_\lambda^{-1} H H_\lambda^{-1}`, where
    :math:`H_\lambda = H + \lambda I`.

    Adding an image of gradient g to a training moves its minimum along the
    step :math:`-H_\lambda^{-1} g`. :math:`W g \cdot W g'` is the product of
    two steps in H: by how much, over the step of one, the gradient of the
    loss changes along the step of the other. For a small damping λ it is
    :math:`g^T H^{-1} g'`.

    W is made block by block of H, see
    :meth:`mmal.influence.solvers.BaseSolver.step_metric`.

    Args:
        roots (Mapping[int, Tensor]): By the param index of a layer's weight,
            the blocks of W, [G, k * K, k * K], as those of
            :class:`~mmal.influence.operators.blocks.ChannelBlocks`.

    Example:
        >>> metric = StepMetric({0: torch.full((1, 1, 1), .5)})
        >>> metric(0, torch.ones(2, 1, 1)).flatten()
        tensor([0.5000, 0.5000])
    """

    def __init__(self, roots: Mapping[int, Tensor]) -> None:
        self.roots = roots

    def __call__(self, index: int, gradients: Tensor) -> Tensor:
        """W times the gradients by a layer's weight and bias.

        O(C k K^2) an image.

        Args:
            index (int): The param index of the weight.
            gradients (Tensor): [B, C, K], with the bias' in the last column.

        Returns:
            Tensor: [B, C, K]; zero for layers that no loss curves.
        """
        if index not in self.roots:
            return torch.zeros_like(gradients)
        roots = self.roots[index]
        rows = gradients.reshape(len(gradients), len(roots), -1)
        rows = torch.einsum('gij,bgj->bgi', roots, rows)
        return rows.reshape(gradients.shape)
