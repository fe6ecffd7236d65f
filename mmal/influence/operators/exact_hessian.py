r"""The Hessian of the loss: :math:`\frac1N \sum_i \nabla^2_\theta l_i`."""
from typing import List

import torch

from ..layers import LayerRecorder
from ..products import Losses, as_losses
from ..vectors import ParamVector, check_shapes
from .base import BatchedOperator
from .double_backward import (
    check_twice_differentiable,
    second_derivative_product,
)


class ExactHessianBatch:
    """The twice differentiable graph of one batch's losses.

    A product is one backward pass through the kept graph of the gradient,
    which reaches back to the first chosen layer. Any kind of layer works.

    Args:
        losses (Losses): ``[B]``, computed inside the recorder.
        recorder (LayerRecorder): The chosen layers.

    Raises:
        RuntimeError: An operation of the loss has no second derivative.
    """
    nbytes = None

    def __init__(self, losses: Losses, recorder: LayerRecorder) -> None:
        losses = as_losses(losses)
        self.num_images = len(losses)
        self.recorder = recorder
        self.grads = [None] * len(recorder.params)
        if losses.requires_grad and self.num_images:
            check_twice_differentiable(losses)
            with recorder.unfrozen():
                self.grads = torch.autograd.grad(
                    losses.sum(),
                    recorder.params,
                    create_graph=True,
                    allow_unused=True)

    def product(self, vectors: List[ParamVector]) -> List[ParamVector]:
        """See :class:`OperatorBatch`."""
        params = self.recorder.params
        for vector in vectors:
            check_shapes(vector, params)
        with self.recorder.unfrozen():
            return [second_derivative_product(self.grads, params, vector)
                    for vector in vectors]


class ExactHessian(BatchedOperator):
    r"""The Hessian :math:`H = \frac1N \sum_i \nabla^2_\theta l_i`.

    It may be indefinite: on a trained FCOS it strongly is, so conjugate
    gradients and LiSSA need :class:`GaussNewton` or a large damping.

    Args:
        batches (Sequence[ExactHessianBatch]): The images by batch.

    Example:
        >>> model = torch.nn.Linear(1, 1, bias=False).eval()
        >>> recorder = LayerRecorder(model, '*')
        >>> with recorder:
        ...     losses = model(torch.tensor([[1.], [3.]])).square().sum(1)
        >>> hessian = ExactHessian.from_batch(losses, recorder)
        >>> hessian.product([torch.ones(1, 1)])  # mean of 2 * x ** 2
        [tensor([[10.]])]
    """

    @classmethod
    def from_batch(cls, losses: Losses,
                   recorder: LayerRecorder) -> 'ExactHessian':
        """The operator of a single batch."""
        return cls([ExactHessianBatch(losses, recorder)])
