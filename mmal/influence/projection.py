r"""Gradients of many images as short rows of numbers.

The gradient of a layer is a matrix :math:`G = \sum_p g_p a_p^T`, with
:math:`a_p` what the layer sees at position p (for a convolution the patch
under its kernel, and a one for the bias) and :math:`g_p` the gradient by its
output there. It is kept as :math:`B G A^T` with two small random matrices, so
that inner products of gradients are kept in the mean.
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from mmal.random_tensors import TensorStreams
from mmal.randomness import Key
from .layers import Call, LayerRecorder, apply_affine
from .products import (
    Losses,
    as_losses,
    call_gradients,
    gradients_by_image,
)
from .step_metric import StepMetric
from .vectors import check_shapes
from .weight_gradients import image_weight_gradients


class GradientProjection:
    r"""Rows whose inner products are about those of gradients.

    The row of an image has, for each layer, the entries of :math:`B G A^T`:
    A is :math:`[k_1, K]` with entries :math:`\pm 1 / \sqrt{k_1}`, B is
    :math:`[k_2, C]` with entries :math:`\pm 1 / \sqrt{k_2}`, all signs
    equally likely and independent, K the inputs of a channel (one more for
    the bias), C its channels. As :math:`E[A^T A] = I` and
    :math:`E[B^T B] = I`, the inner product of two rows is, in the mean over
    all signs, that of the gradients, :math:`\langle G, G' \rangle`. Where
    :math:`k_1 \ge K` A is the identity, and so is B where
    :math:`k_2 \ge C`: with both it is exact. Its variance is the sum over
    layers of :func:`product_variance`, at most

    .. math:: (2 / k_1 + 2 / k_2 + 4 / (k_1 k_2))\, |G|^2 |G'|^2,

    without the terms of what is the identity.

    Outputs' gradients are projected first, which makes the sum over P
    positions cheaper: O(P K min(k_2, C)) an image, and a matrix of min(k_2,
    C) x K numbers, which A then shortens. Where k_1 is the smaller one, A is
    applied first, as a layer with k_1 channels: O(P K k_1), and no such
    matrix. In a metric the whole matrix G is needed. Layers that fall back to
    autograd (see :func:`image_products`) take a backward pass an image.

    Args:
        recorder (LayerRecorder): Has the layers and their parameters.
        inputs (int, optional): k_1, at least 1; None: not projected.
        outputs (int, optional): k_2, the same for channels.
        *key (int | str): Of the signs, e.g. a seed. Those of a layer depend
            on its name and shape, not on the other layers.

    Attributes:
        dim (int): How many numbers a row has.

    Raises:
        ValueError: ``inputs`` or ``outputs`` is below 1.

    Example:
        >>> model = nn.Linear(2, 1, bias=False).eval()
        >>> recorder = LayerRecorder(model, '*')
        >>> with recorder:
        ...     losses = model(torch.tensor([[1., 2.], [3., 4.]])).sum(1)
        >>> GradientProjection(recorder).embed(losses, recorder)
        tensor([[1., 2.],
                [3., 4.]])
    """

    def __init__(self,
                 recorder: LayerRecorder,
                 inputs: Optional[int] = None,
                 outputs: Optional[int] = None,
                 *key: Key) -> None:
        for name, size in (('inputs', inputs), ('outputs', outputs)):
            if size is not None and size < 1:
                raise ValueError(f'{name} is {size}: give a number of rows of '
                                 'at least 1, or None.')
        self._params = recorder.params
        self._blocks: List[_Block] = []
        # Where the gradient of each parameter goes: a block and its columns.
        # What layers share is placed once, and their gradients add up there.
        self._places: Dict[int, Tuple[int, slice]] = {}
        for layer in recorder.layers:
            new = {name: index for name, index in layer.index.items()
                   if index not in self._places}
            # A channel's bias is one more weight of it, whose input is 1.
            together = layer.affine and 'weight' in new
            for names in [list(new)] if together else [[n] for n in new]:
                width = 0
                for name in names:
                    param = self._params[new[name]]
                    channels = len(param) if param.dim() else 1
                    columns = param.numel() // channels
                    self._places[new[name]] = (
                        len(self._blocks), slice(width, width + columns))
                    width += columns
                own = (*key, layer.name, names[0])
                self._blocks.append(_Block(
                    new[names[0]], channels, width,
                    _signs(outputs, channels, param, *own, 'outputs'),
                    _signs(inputs, width, param, *own, 'inputs')))
        self.dim = sum(math.prod(block.size) for block in self._blocks)
        # Blocks of which the outputs' gradients cannot be projected: those of
        # groups of channels, which see different inputs, of layers without
        # outputs' gradients, and of layers that have only a part of one.
        self._whole = set()
        for layer in recorder.layers:
            blocks = {self._places[i][0] for i in layer.index.values()}
            if len(blocks) > 1 or not layer.affine or \
                    getattr(layer.module, 'groups', 1) > 1:
                self._whole |= blocks

    def embed(self,
              losses: Losses,
              recorder: LayerRecorder,
              metric: Optional[StepMetric] = None,
              check: bool = True) -> Tensor:
        """The rows of a batch, from its one forward pass.

        Args:
            losses (Tensor | Sequence[Tensor]): ``[B]``, see
                :func:`image_products`.
            recorder (LayerRecorder): Holds the calls of the batch.
            metric (StepMetric, optional): Applied to the gradients first.
            check (bool): See :func:`image_products`.

        Returns:
            Tensor: ``[B, dim]``, dtype of the parameters.
        """
        losses = as_losses(losses)
        like = self._params[0]
        # Of each block either matrices to be projected at the end, whole ones
        # or with their channels projected, or what is projected already.
        matrices: Dict[int, Tensor] = {}
        rows = [like.new_zeros(len(losses), *block.size)
                for block in self._blocks]
        whole = self._whole if metric is None else range(len(rows))

        def add(index: int, gradient: Tensor, image: slice) -> None:
            """Add to the matrices the gradients by one parameter."""
            at, columns = self._places[index]
            if at not in matrices:
                block = self._blocks[at]
                channels = block.channels if at in whole else block.size[0]
                matrices[at] = rows[at].new_zeros(
                    len(losses), channels, block.inputs)
            matrices[at][image, :, columns] += gradient

        with recorder.unfrozen():
            calls, fallback = call_gradients(losses, recorder, check)
            for i, by_index in gradients_by_image(losses, recorder, fallback):
                for index, gradient in by_index.items():
                    at, _ = self._places[index]
                    gradient = self._matrix(index, gradient)
                    if at not in whole:
                        gradient = self._blocks[at].project_channels(gradient)
                    add(index, gradient, slice(i, i + 1))
        with torch.no_grad(), torch.autocast(losses.device.type,
                                             enabled=False):
            for call, grad in calls:
                weight, bias = (call.layer.index.get(name)
                                for name in ('weight', 'bias'))
                at, _ = self._places[weight]
                block = self._blocks[at]
                grad = _channels_first(call, grad.to(like.dtype))
                if at not in whole:
                    grad = block.project_channels(grad)
                    if block.inputs_first:
                        rows[at] += self._inputs_first(block, call, grad)
                        continue
                add(weight, _weight_gradients(call, grad), slice(None))
                if bias is not None:
                    add(bias, grad.flatten(2).sum(2)[..., None], slice(None))
            for at, matrix in matrices.items():
                block = self._blocks[at]
                if metric is not None:
                    matrix = metric(block.index, matrix)
                if at in whole:
                    matrix = block.project_channels(matrix)
                rows[at] += block.project_inputs(matrix)
            return torch.cat([r.flatten(1) for r in rows], 1)

    def project(self, vector: Sequence[Tensor],
                metric: Optional[StepMetric] = None) -> Tensor:
        """The row of any parameter vector.

        Args:
            vector (ParamVector): Has the shapes of the parameters.
            metric (StepMetric, optional): Applied first.

        Returns:
            Tensor: ``[dim]``.
        """
        check_shapes(vector, self._params)
        matrices = [self._params[0].new_zeros(1, b.channels, b.inputs)
                    for b in self._blocks]
        for index, (at, columns) in self._places.items():
            matrices[at][..., columns] = self._matrix(index, vector[index])
        if metric is not None:
            matrices = [metric(block.index, matrix)
                        for block, matrix in zip(self._blocks, matrices)]
        return torch.cat([
            block.project_inputs(block.project_channels(matrix)).flatten()
            for block, matrix in zip(self._blocks, matrices)])

    def _matrix(self, index: int, gradient: Tensor) -> Tensor:
        """[1, C, columns] for what is shaped like a parameter."""
        at, _ = self._places[index]
        return gradient.detach().reshape(1, self._blocks[at].channels, -1)

    def _inputs_first(self, block: _Block, call: Call,
                      grad: Tensor) -> Tensor:
        """[B, k2, k1] of one call: the layer with A for its weight."""
        module, index = call.layer.module, call.layer.index
        _, columns = self._places[index['weight']]
        weight = block.by_inputs[:, columns].reshape(
            -1, *module.weight.shape[1:])
        bias = None
        if 'bias' in index:
            bias = block.by_inputs[:, self._places[index['bias']][1]].squeeze(
                1)
        seen = apply_affine(module, call.input, weight, bias)
        seen = seen.flatten(1, -2).mT if isinstance(module, nn.Linear) and \
            seen.dim() > 2 else seen.reshape(*seen.shape[:1], len(weight), -1)
        return grad.flatten(2) @ seen.mT


@dataclass(frozen=True)
class _Block:
    """The matrix of a weight and its bias, and what makes it small.

    Args:
        index (int): The param index of the weight, or of the only parameter.
        channels (int): C.
        inputs (int): K, with the bias.
        by_channels (Tensor, optional): B, [k2, C]; None: the identity.
        by_inputs (Tensor, optional): A, [k1, K]; None: the identity.
    """
    index: int
    channels: int
    inputs: int
    by_channels: Optional[Tensor]
    by_inputs: Optional[Tensor]

    @property
    def size(self) -> Tuple[int, int]:
        """How many rows and columns are left."""
        return (self.channels if self.by_channels is None
                else len(self.by_channels),
                self.inputs if self.by_inputs is None
                else len(self.by_inputs))

    @property
    def inputs_first(self) -> bool:
        """Whether A is the smaller one, so that it should come first."""
        return self.by_inputs is not None and self.size[1] < self.size[0]

    def project_channels(self, x: Tensor) -> Tensor:
        """B times x, [B, C, ...]."""
        if self.by_channels is None:
            return x
        return torch.einsum('kc,bc...->bk...', self.by_channels, x)

    def project_inputs(self, x: Tensor) -> Tensor:
        """x, [B, k2, K], times the transpose of A."""
        return x if self.by_inputs is None else x @ self.by_inputs.mT


def product_variance(first: Tensor, second: Tensor, inputs: Optional[int],
                     outputs: Optional[int]) -> float:
    r"""The variance, over all signs, of the inner product of two gradients of
    a layer that :class:`GradientProjection` has projected.

    With the matrices X and Y, :math:`M = A^T A` has ones on its diagonal, and
    beside it :math:`M_{ij} = M_{ji}` of mean 0 and variance :math:`1 / k_1`,
    uncorrelated but for this symmetry; so has :math:`B^T B`. In
    :math:`\langle B X A^T, B Y A^T \rangle = \sum X_{ci} Y_{dj} M_{ij}
    (B^T B)_{cd}` all second moments are therefore known:

    .. math:: \frac{V(X^T Y)}{k_1} + \frac{V(X Y^T)}{k_2} +
        \frac{W}{k_1 k_2}, \quad
        V(M) = |M|^2 + \operatorname{tr} M^2 - 2 |\operatorname{diag} M|^2

    .. math:: W = |X|^2 |Y|^2 + \langle X, Y \rangle^2 +
        \langle X^T X, Y^T Y \rangle + \langle X X^T, Y Y^T \rangle -
        2 (D(X, Y) + D(X^T, Y^T)) + 4 \sum X_{ci}^2 Y_{ci}^2

    .. math:: D(X, Y) = \sum_c |X_c|^2 |Y_c|^2 + (X Y^T)_{cc}^2

    Normally distributed entries would have the same one without the
    subtractions. A term whose matrix is the identity is 0.

    Args:
        first (Tensor): X, [C, K].
        second (Tensor): Y, [C, K].
        inputs (int, optional): k_1; None: not projected.
        outputs (int, optional): k_2.

    Example:
        >>> x = torch.ones(1, 2)
        >>> product_variance(x, x, 1, None)  # (±1 ±1)^2 is 0 or 4
        4.0
    """
    x, y = first.double(), second.double()
    by_inputs, by_outputs = x.mT @ y, x @ y.mT

    def spread(m: Tensor) -> Tensor:
        return m.square().sum() + (m * m.mT).sum() - \
            2 * m.diagonal().square().sum()

    def on_diagonal(x: Tensor, y: Tensor) -> Tensor:
        return (x.square().sum(1) * y.square().sum(1)).sum() + \
            (x * y).sum(1).square().sum()

    share_in = 1 / inputs if inputs and inputs < x.size(1) else 0.
    share_out = 1 / outputs if outputs and outputs < x.size(0) else 0.
    both = x.square().sum() * y.square().sum() + (x * y).sum().square() + \
        ((x.mT @ x) * (y.mT @ y)).sum() + ((x @ x.mT) * (y @ y.mT)).sum() - \
        2 * (on_diagonal(x, y) + on_diagonal(x.mT, y.mT)) + \
        4 * (x * y).square().sum()
    return float(share_in * spread(by_inputs) +
                 share_out * spread(by_outputs) + share_in * share_out * both)


def _signs(rows: Optional[int], columns: int, like: Tensor,
           *key: Key) -> Optional[Tensor]:
    """Random signs [rows, columns], divided by the root of ``rows``; None
    where there would be no fewer rows than columns."""
    if rows is None or rows >= columns:
        return None
    bits = TensorStreams(['signs'], *key).bits((rows, columns))[0]
    signs = torch.where(bits < 0, -1., 1.) / math.sqrt(rows)
    return signs.to(like.device, like.dtype)


def _channels_first(call: Call, grad: Tensor) -> Tensor:
    """Gradients by outputs as [B, C, *positions]."""
    if isinstance(call.layer.module, nn.Linear):
        return grad.flatten(1, -2).mT if grad.dim() > 2 else grad[..., None]
    return grad


def _weight_gradients(call: Call, grad: Tensor) -> Tensor:
    """What each image adds to the gradient of a layer's weight.

    Args:
        call (Call): A call of the layer.
        grad (Tensor): [B, C, *positions], of its outputs or, for layers
            without groups, of sums of them.

    Returns:
        Tensor: [B, C, K].
    """
    module, x = call.layer.module, call.input.to(grad.dtype)
    if isinstance(module, nn.Linear):
        return grad @ (x.flatten(1, -2) if x.dim() > 2 else x[:, None])
    if isinstance(module, nn.Conv2d):
        gradients = image_weight_gradients(module, x, grad)
        return gradients[..., :module.weight[0].numel()]
    # Convolutions of other dimensions are linear in the weight too, so that
    # the gradient does not depend on where it is taken.
    out = []
    for image, of_image in zip(x.split(1), grad.split(1)):
        weight = grad.new_zeros(grad.size(1), *module.weight.shape[1:])
        weight.requires_grad_()
        with torch.enable_grad():
            output = apply_affine(module, image, weight, None)
        out.append(torch.autograd.grad(output, weight, of_image)[0])
    return torch.stack(out).flatten(2)
