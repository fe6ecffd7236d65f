"""The share of each output position in a product with an image's gradient."""
from typing import List, Tuple

import torch
from torch import Tensor

from .layers import Call, LayerRecorder, apply_affine
from .products import Losses, as_losses, call_gradients
from .vectors import ParamVector, check_shapes


def position_products(losses: Losses, recorder: LayerRecorder,
                      vector: ParamVector) -> List[Tuple[Call, Tensor]]:
    r"""Products :math:`\nabla_\theta l \cdot s`, position by position.

    ``affine(a; s) * g`` of :func:`image_products` before it is summed. Where
    a loss is a sum of terms that each depend on the outputs at one position
    alone, as those of dense detectors are, the numbers at the positions of
    some terms add up to the product with the gradient of these terms. One
    backward pass to the outputs, and one more application of each layer.

    Args:
        losses (Tensor | Sequence[Tensor]): See :func:`image_products`.
        recorder (LayerRecorder): Holds the calls of the batch.
        vector (ParamVector): s, one parameter vector.

    Returns:
        list[tuple[Call, Tensor]]: For each call that the losses depend on a
        number for each of its outputs, in the shape of the output.

    Raises:
        ValueError: A layer is neither a convolution nor linear, or has no row
            per image, or the vector does not have the shapes of the
            parameters.

    Example:
        >>> model = torch.nn.Linear(2, 1).eval()
        >>> recorder = LayerRecorder(model, '*', bias=False)
        >>> with recorder:
        ...     losses = model(torch.tensor([[1., 2.], [3., 4.]])).sum(1)
        >>> (call, products), = position_products(
        ...     losses, recorder, [torch.ones(1, 2)])
        >>> products
        tensor([[3.],
                [7.]])
    """
    check_shapes(vector, recorder.params)
    with recorder.unfrozen():
        grads, fallback = call_gradients(as_losses(losses), recorder)
    if fallback:
        names = ', '.join(layer.name for layer in fallback)
        raise ValueError(
            f'the layers {names} have no output positions of their own for '
            'each image: choose convolutions that are called on whole images.')
    with torch.no_grad():
        return [(call, apply_affine(call.layer.module, call.input,
                                    *call.layer.pieces(vector)) * grad)
                for call, grad in grads]
