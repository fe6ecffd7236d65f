r"""Generalised Gauss-Newton: :math:`\frac1N \sum_i J_i^T [H_{z,i}]_+ J_i`."""
import copy
from functools import partial
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from mmal.randomness import Key
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
from .blocks import (
    AloneOnce,
    ChannelBlocks,
    OnePass,
    check_sizes,
    curvature_rows,
    form_blocks,
    sizes_of,
)
from .cache import unique_bytes
from .curvature import Curvature, RowCurvature, form_curvatures
from .double_backward import (
    check_twice_differentiable,
    second_derivative_product,
)
from .sampling import sampled_terms, squared_inputs


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
        calls = [c for c in recorder.calls if c.output.requires_grad]
        unfit = {id(la) for la in recorder.layers if not la.affine}
        if not unfit and losses.requires_grad:
            unfit = used_around_calls(losses, recorder, calls)
        if unfit:
            names = [la.name for la in recorder.layers if id(la) in unfit]
            raise ValueError(
                'Gauss-Newton needs convolution or linear layers that are '
                f'used by calling them; layers {names} are not. Leave them '
                "out, or set hessian='exact'.")
        if self.num_images == 0 or not losses.requires_grad:
            return
        check_twice_differentiable(losses)
        with recorder.unfrozen():
            self._form(losses, calls, max_block)

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

    def _form(self, losses: Tensor, calls: List[Call],
              max_block: int) -> None:
        """Form the curvature at the outputs of all calls."""
        # An output that no loss uses (boxes, where an image has no positive)
        # has no gradient to differentiate again.
        reached = backward_to(losses.sum(), calls)
        calls = [c for c in calls if reached[c] is not None]
        by_layer: Dict[Layer, List[Call]] = {}
        for call in calls:
            call.check()
            name = call.layer.name
            if call.source is not None:
                raise ValueError(
                    f"the input of layer '{name}' depends on another chosen "
                    'layer, but Gauss-Newton takes the inputs as constants. '
                    "Choose last layers only, or set hessian='exact'.")
            if not call.batched:
                raise ValueError(f"layer '{name}' was called without a batch "
                                 'dimension; Gauss-Newton needs one.')
            by_layer.setdefault(call.layer, []).append(call)
        if not calls:
            return

        # As each image's losses depend on its own outputs alone, the second
        # derivative of their sum is that of every image, side by side.
        grads = dict(zip(calls, torch.autograd.grad(
            losses.sum(), [c.output for c in calls], create_graph=True)))
        for layer, of_layer in by_layer.items():
            # The levels of a pyramid are calls of one layer. They are probed
            # together, at the cost of one; layers are probed one by one, as
            # a product with all would mix in what they do to each other.
            hvp = partial(second_derivative_product,
                          [grads[c] for c in of_layer],
                          [c.output for c in of_layer])
            curvatures = form_curvatures(
                [c.output for c in of_layer], hvp,
                -1 if isinstance(layer.module, nn.Linear) else 1, layer.name,
                max_block)
            self.terms += [
                _Term(call, curvature)
                for call, curvature in zip(of_layer, curvatures)
                if curvature is not None
            ]

    def sampled(self, count: int, ids: Sequence[Key],
                *key: Key) -> 'GaussNewtonBatch':
        """Some positions of each image, which stand for all of them.

        Its mean over draws is the batch itself; see
        :mod:`~mmal.influence.operators.sampling`.

        Args:
            count (int): How many positions an image keeps of a layer, on
                average at most; all where there are no more.
            ids (Sequence[int | str]): Of the B images. What an image keeps
                does not depend on the others.
            *key (int | str): What is drawn, e.g. a seed and a round.
        """
        new = copy.copy(self)
        new.terms = sampled_terms(self.terms, count, ids, *key)
        return new

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
        once (OnePass, optional): The same images for one pass over them,
            which several processes may share.

    Example:
        >>> model = torch.nn.Linear(1, 1, bias=False).eval()
        >>> recorder = LayerRecorder(model, '*')
        >>> with recorder:
        ...     losses = model(torch.tensor([[1.], [3.]])).square().sum(1)
        >>> gauss_newton = GaussNewton.from_batch(losses, recorder)
        >>> gauss_newton.product([torch.ones(1, 1)])  # mean of 2 * x ** 2
        [tensor([[10.]])]
    """

    def __init__(self,
                 batches: Sequence[GaussNewtonBatch],
                 once: Optional[OnePass] = None) -> None:
        super().__init__(batches)
        self.once = once
        self._blocks: Optional[List[ChannelBlocks]] = None

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
        return self.mean(lambda batch: [batch.diagonal()])[0]

    def check_blocks(self, like: ParamVector, limit: int) -> None:
        """Raise ValueError if :meth:`channel_blocks` would need more than
        ``limit`` bytes, or cannot be formed; see :func:`check_sizes`."""
        check_sizes(sizes_of(self.batches), like, limit)

    def channel_blocks(
            self, like: ParamVector, limit: int,
            progress: Callable[[int, int], None]) -> List[ChannelBlocks]:
        """The matrix as blocks of output channels, in one pass over the
        images; see :func:`form_blocks`.

        Layers that no loss curves are left out: their part is zero.
        """
        if self._blocks is not None:
            return self._blocks
        once = AloneOnce(self.batches) if self.once is None else self.once
        blocks = form_blocks(once, like, limit, progress)
        if self.keep_blocks:
            self._blocks = blocks
        return blocks


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
        self.positions = call.output.numel() // call.output.size(
            curvature.channel_dim)
        self.patches = False
        if isinstance(curvature, RowCurvature):
            patch_size = call.layer.module.weight[0].numel()
            if patch_size * len(curvature.rows) < call.input.numel():
                patches = input_patches(call.layer.module, call.input,
                                        curvature.rows)
                if patches is not None:
                    self.input, self.patches = patches, True
        self.input = self.input.contiguous()

    def map_tensors(self, function: Callable) -> '_Term':
        new = copy.copy(self)
        new.input = function(self.input)
        new.curvature = self.curvature.map_tensors(function)
        return new

    def add_product(self, totals: List[ParamVector],
                    vectors: List[ParamVector]) -> None:
        """Add the product of each vector to its total."""
        params = [torch.stack([v[i].detach() for v in vectors])
                  for i in self._param_indices]
        self._pull_back(
            totals, params, self.input, self.curvature.apply_rows
            if self.patches else self.curvature.apply)

    def add_diagonal(self, total: ParamVector) -> None:
        """Add the diagonal of the matrix."""
        # At a position it is diag(B) (x) x^2, B the curvature and x the
        # input: J^T of the squared input times the diagonal of B. The layer
        # is linear in its parameters, so J^T is the same at zero.
        params = [torch.zeros_like(total[i])[None]
                  for i in self._param_indices]
        inputs = self.input.to(params[0].dtype).square()
        self._pull_back(
            [total], params, inputs, self.curvature.diagonal_rows
            if self.patches else self.curvature.diagonal)

    @property
    def _param_indices(self) -> List[int]:
        index = self.layer.index
        return [index[k] for k in ('weight', 'bias') if k in index]

    def _pull_back(self, totals: List[ParamVector], params: List[Tensor],
                   inputs: Tensor, function: Callable) -> None:
        """Add J^T function(J params), with J the layer at the inputs."""
        with torch.enable_grad():
            # The layer is linear in its parameters, so the graph of J s
            # serves for J^T as well.
            params = [p.requires_grad_() for p in params]
            weights, biases = (*params, None)[:2]
            if not self.patches:
                z = apply_affine_many(self.layer.module, inputs, weights,
                                      biases)
            else:
                z = inputs.to(weights.dtype) @ weights.flatten(2).mT
                if biases is not None:
                    z = z + biases.unsqueeze(1)
            pulled_back = torch.autograd.grad(z, params, function(z.detach()))
        for i, of_vectors in zip(self._param_indices, pulled_back):
            for total, product in zip(totals, of_vectors):
                total[i] = total[i] + product

    def rows(self) -> Tuple[Tensor, Tensor]:
        """What the layer sees at positions with curvature, [R, K], and the
        blocks there, [R, C / k, k, k]."""
        rows, blocks = self.curvature.dense_rows()
        if self.patches:
            return self.input, blocks
        return curvature_rows(self.layer, self.input, rows), blocks

    def masses(self) -> Optional[Tensor]:
        """The share of each position in the trace of the matrix, [positions]
        of all images; None for layers that have no patches."""
        rows, traces = self.curvature.traces()
        if self.patches:
            lengths = self.input.float().square().sum(1)
        else:
            lengths = squared_inputs(self.layer.module, self.input)
            if lengths is None:
                return None
            lengths = lengths[rows]
        out = traces.new_zeros(self.positions)
        out[rows] = traces * (lengths + ('bias' in self.layer.index))
        return out

    def take(self, rows: Tensor, weights: Tensor) -> '_Term':
        """Some positions with curvature, ascending, and their weights."""
        own, _ = self.curvature.traces()
        at = torch.searchsorted(own, rows)
        new = copy.copy(self)
        new.curvature = self.curvature.take(at, weights)
        new.input = self.input[at] if self.patches else input_patches(
            self.layer.module, self.input, rows)
        new.patches = True
        return new
