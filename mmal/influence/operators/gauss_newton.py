r"""Generalised Gauss-Newton: :math:`\frac1N \sum_i J_i^T [H_{z,i}]_+ J_i`."""
import copy
from typing import Callable, Dict, List, Optional, Tuple

import torch
from torch import Tensor, nn

from ..layers import (
    Call,
    Layer,
    LayerRecorder,
    apply_affine_many,
    input_patches,
)
from ..products import Losses, as_losses, backward_to, used_around_calls
from ..vectors import ParamVector, check_shapes
from .base import BatchedOperator
from .blocks import ChannelBlocks, curvature_rows, form_blocks
from .cache import unique_bytes
from .curvature import Curvature, RowCurvature, form_curvatures
from .double_backward import check_twice_differentiable, second_derivative_help


class GaussNewtonBatch:
    """Inputs of the layers and curvature at their outputs, for one batch.

    The curvature is formed once, here; the graph of the losses is not kept. A
    product applies every layer twice, with all vectors at once, and needs no
    model.

    Args:
        losses (Losses): ``[B]``, computed inside the recorder.
        recorder (LayerRecorder): Holds the calls of the batch.
        max_block (int): See :func:`form_curvatures`.

    Raises:
        ValueError: A layer is no affine one, one chosen layer feeds another,
            or a parameter is used without calling its layer.
        RuntimeError: An operation of the loss has no second derivative.
    """

    def __init__(self,
                 losses: Losses,
                 recorder: LayerRecorder,
                 max_block: int = 16) -> None:
        losses = as_losses(losses)
        self.num_images = len(losses)
        self.params_like = [p.detach() for p in recorder.params]
        self.terms: List[_Term] = []
        _check_layers(losses, recorder)
        if self.num_images == 0 or not losses.requires_grad:
            return
        check_twice_differentiable(losses)
        with recorder.unfrozen():
            self._form(losses, recorder, max_block)

    @property
    def nbytes(self) -> int:
        """Bytes held: inputs (shared ones once) and curvature."""
        return unique_bytes([
            t for term in self.terms
            for t in [term.input, *term.curvature.tensors()]
        ])

    def map_tensors(self, function: Callable) -> 'GaussNewtonBatch':
        """A copy with ``function(tensor)`` for what is held."""
        new = copy.copy(self)
        new.terms = [term.map_tensors(function) for term in self.terms]
        return new

    def _form(self, losses: Tensor, recorder: LayerRecorder,
              max_block: int) -> None:
        calls = [c for c in recorder.calls if c.output.requires_grad]
        reached = backward_to(losses.sum(), calls)
        calls = [c for c in calls if reached[c] is not None]
        if not calls:
            return
        for call in calls:
            _check_call(call)
        grads = torch.autograd.grad(
            losses.sum(), [c.output for c in calls], create_graph=True)
        by_layer: Dict[Layer, List[int]] = {}
        for i, call in enumerate(calls):
            by_layer.setdefault(call.layer, []).append(i)
        for layer, indices in by_layer.items():
            mine = [calls[i] for i in indices]
            self._add_layer(layer, mine, [grads[i] for i in indices],
                            max_block)

    def _add_layer(self, layer: Layer, calls: List[Call], grads: List[Tensor],
                   max_block: int) -> None:
        outputs = [c.output for c in calls]
        channel_dim = -1 if isinstance(layer.module, nn.Linear) else 1
        curvatures = form_curvatures(
            outputs, lambda probes: _second(outputs, grads, probes),
            channel_dim, layer.name, max_block)
        self.terms += [
            _Term(call, curvature)
            for call, curvature in zip(calls, curvatures)
            if curvature is not None
        ]

    def product(self, vectors: List[ParamVector]) -> List[ParamVector]:
        """See :class:`OperatorBatch`."""
        for vector in vectors:
            check_shapes(vector, self.params_like)
        totals = [[torch.zeros_like(t) for t in v] for v in vectors]
        for term in self.terms:
            term.add_product(totals, vectors)
        return totals

    def diagonal(self) -> ParamVector:
        """The diagonal, summed over the images of the batch."""
        total = [torch.zeros_like(p) for p in self.params_like]
        for term in self.terms:
            term.add_diagonal(total)
        return total


class GaussNewton(BatchedOperator):
    r"""Generalised Gauss-Newton matrix over the chosen layers.

    .. math:: G = \frac1N \sum_i \sum_c J_{ic}^T
        \left[\frac{\partial^2 l_i}{\partial z_{ic}^2}\right]_+ J_{ic}

    with z the outputs of the layers' calls c and J their Jacobian. Unlike the
    Hessian it is positive semi-definite. What it leaves out: negative
    curvature of the loss, and curvature between calls or positions (of box
    and centerness, say). The layers must be convolutions or linear, none
    feeding another: the last layers of a head, as a rule.

    Args:
        batches (Sequence[GaussNewtonBatch]): The images by batch.

    Example:
        >>> model = torch.nn.Linear(1, 1, bias=False).eval()
        >>> recorder = LayerRecorder(model, '*')
        >>> with recorder:
        ...     losses = model(torch.tensor([[1.], [3.]])).square().sum(1)
        >>> gauss_newton = GaussNewton.from_batch(losses, recorder)
        >>> gauss_newton.product([torch.ones(1, 1)])  # mean of 2 * x ** 2
        [tensor([[10.]])]
    """

    @classmethod
    def from_batch(cls,
                   losses: Losses,
                   recorder: LayerRecorder,
                   max_block: int = 16) -> 'GaussNewton':
        """The operator of a single batch."""
        return cls([GaussNewtonBatch(losses, recorder, max_block)])

    def diagonal(self) -> ParamVector:
        """The diagonal of the matrix, shaped like the parameters; costs as
        much as a product."""
        return self._mean(lambda batch: [batch.diagonal()])[0]

    def channel_blocks(
            self, like: ParamVector, limit: int,
            progress: Callable[[int, int], None]) -> List[ChannelBlocks]:
        """The matrix as blocks of output channels; see :func:`form_blocks`.

        Layers that no loss curves are left out: their part is zero.
        """
        return form_blocks(self.batches, like, limit, progress)


def _check_layers(losses: Tensor, recorder: LayerRecorder) -> None:
    wrong = [la.name for la in recorder.layers if not la.affine]
    if not wrong and losses.requires_grad:
        around = used_around_calls(
            losses, recorder,
            [c for c in recorder.calls if c.output.requires_grad])
        wrong = [la.name for la in recorder.layers if id(la) in around]
    if wrong:
        raise ValueError(
            'Gauss-Newton needs convolution or linear layers that are used by '
            f"calling them; layers {wrong} are not. Leave them out, or set "
            "hessian='exact'.")


def _check_call(call: Call) -> None:
    call.check()
    name = call.layer.name
    if call.source is not None:
        raise ValueError(
            f"the input of layer '{name}' depends on another chosen layer, "
            'but Gauss-Newton takes the inputs as constants. Choose last '
            "layers only, or set hessian='exact'.")
    if not call.batched:
        raise ValueError(f"layer '{name}' was called without a batch "
                         "dimension; Gauss-Newton needs one.")


def _second(outputs: List[Tensor], grads: List[Tensor],
            probes: List[Tensor]) -> List[Tensor]:
    """Second derivative of the summed losses times the probes."""
    used = [(g, p) for g, p in zip(grads, probes) if g.requires_grad]
    if not used:
        return [torch.zeros_like(y) for y in probes]
    try:
        found = torch.autograd.grad([g for g, _ in used],
                                    outputs, [p for _, p in used],
                                    retain_graph=True,
                                    allow_unused=True)
    except RuntimeError as error:
        raise RuntimeError(second_derivative_help(error)) from error
    return [
        torch.zeros_like(p) if f is None else f
        for f, p in zip(found, probes)
    ]


class _Term:
    """One call of one layer: its input, or patches of it, and curvature.

    Where few positions have curvature (the positives of a box loss), only
    what the layer sees there is kept, if that is less.
    """

    def __init__(self, call: Call, curvature: Curvature) -> None:
        self.layer = call.layer
        self.input = call.input
        # one layout, so that sums are the same wherever tensors are kept
        self.curvature = curvature.map_tensors(Tensor.contiguous)
        self.patches = False
        if isinstance(curvature, RowCurvature):
            size = call.layer.module.weight[0].numel()
            if size * len(curvature.rows) < call.input.numel():
                self._keep_patches(curvature)
        self.input = self.input.contiguous()

    def _keep_patches(self, curvature: RowCurvature) -> None:
        found = input_patches(self.layer.module, self.input, curvature.rows)
        if found is not None:
            self.input, self.patches = found, True

    def map_tensors(self, function: Callable) -> '_Term':
        new = copy.copy(self)
        new.input = function(self.input)
        new.curvature = self.curvature.map_tensors(function)
        return new

    def add_product(self, totals: List[ParamVector],
                    vectors: List[ParamVector]) -> None:
        """Add the product of each vector to its total."""
        leaves = [torch.stack([v[p].detach() for v in vectors])
                  for p in self._places]
        self._pull_back(totals, leaves, self.input, self._curve)

    def add_diagonal(self, total: ParamVector) -> None:
        """Add the diagonal of the matrix: squared inputs times that of the
        curvature."""
        leaves = [torch.zeros_like(total[p])[None] for p in self._places]
        inputs = self.input.to(leaves[0].dtype).square()
        self._pull_back([total], leaves, inputs, self._diagonal)

    @property
    def _places(self) -> List[int]:
        index = self.layer.index
        return [index[k] for k in ('weight', 'bias') if k in index]

    def _pull_back(self, totals: List[ParamVector], leaves: List[Tensor],
                   inputs: Tensor, function: Callable) -> None:
        """Add J^T function(J leaves), with J the layer at the inputs."""
        with torch.enable_grad():
            # The layer is linear in its parameters, so the graph of J s
            # serves for J^T as well.
            leaves = [leaf.requires_grad_() for leaf in leaves]
            z = self._jacobian(inputs, *leaves)
            found = torch.autograd.grad(z, leaves, function(z.detach()))
        for place, pieces in zip(self._places, found):
            for total, piece in zip(totals, pieces):
                total[place] = total[place] + piece

    def rows(self) -> Tuple[Tensor, Tensor]:
        """What the layer sees at positions with curvature, [R, K], and the
        blocks there, [R, C / k, k, k]."""
        rows, blocks = self.curvature.dense_rows()
        if self.patches:
            return self.input, blocks
        return curvature_rows(self.layer, self.input, rows), blocks

    def _jacobian(self, inputs: Tensor, weights: Tensor,
                  biases: Optional[Tensor] = None) -> Tensor:
        if not self.patches:
            return apply_affine_many(self.layer.module, inputs, weights,
                                     biases)
        z = inputs.to(weights.dtype) @ weights.flatten(2).mT
        return z if biases is None else z + biases.unsqueeze(1)

    def _curve(self, z: Tensor) -> Tensor:
        if self.patches:
            return self.curvature.apply_rows(z)
        return self.curvature.apply(z)

    def _diagonal(self, z: Tensor) -> Tensor:
        if self.patches:
            return self.curvature.diagonal_rows(z)
        return self.curvature.diagonal(z)
