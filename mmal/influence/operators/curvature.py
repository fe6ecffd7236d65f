r"""The curvature of per-image losses with respect to a layer's outputs.

Losses of dense predictors are sums over positions, so
:math:`\partial^2 l / \partial z^2` is block-diagonal by position, and often
finer: C numbers for sigmoid classes, one for a centerness, a 4 x 4 block for
the box of a positive, ``w (diag(p) - p p^T)`` for a softmax.
:func:`form_curvatures` finds out which by Hessian-vector products with a few
probes, and keeps the positive semi-definite part. Where a loss mixes all
channels of a position, as GFL's boxes from distributions of their sides do,
the position is one block. Curvature between positions,
between calls and between layers (box and centerness, say) is left out.
"""
import copy
import warnings
from functools import cached_property, partial
from typing import Callable, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

# Relative misfit below which a form counts as found: far above the rounding
# of a double backward in float32, far below what a wrong form misses.
TOLERANCE = 1e-3

# Channels of a position up to which they may be one dense block. GFL has 68,
# which are 18 KB for each of its positives.
WHOLE_POSITION = 128

# Share of positions with curvature up to which only those are kept. Beyond
# it an elementwise product over all positions is cheaper than picking some.
SPARSE = 0.5


class Curvature:
    """A positive semi-definite operator on the outputs ``z`` of one call.

    Args:
        channel_dim (int): The dim of ``z`` that holds the C channels, 1 or
            -1.

    Attributes:
        fields (tuple[str]): Names of the tensors held.
    """
    fields: Tuple[str, ...] = ()

    def __init__(self, channel_dim: int) -> None:
        self.channel_dim = channel_dim

    @property
    def block_size(self) -> int:
        """k, the channels in a block."""
        raise NotImplementedError

    def apply(self, z: Tensor) -> Tensor:
        """Multiply ``[M, *output shape]``."""
        raise NotImplementedError

    def diagonal(self, z: Tensor) -> Tensor:
        """The diagonal, for every one of ``[M, *output shape]``."""
        raise NotImplementedError

    def dense_rows(self) -> Tuple[Tensor, Tensor]:
        """Positions with curvature [R], and their blocks [R, C / k, k, k]."""
        raise NotImplementedError

    def traces(self) -> Tuple[Tensor, Tensor]:
        """Positions with curvature and the traces there, both [R]."""
        raise NotImplementedError

    def take(self, at: Tensor, weights: Tensor) -> 'RowCurvature':
        """Some of the positions that :meth:`traces` gives, weighted.

        Args:
            at (Tensor): [S] which of them.
            weights (Tensor): [S] what the curvature there is multiplied by.
        """
        raise NotImplementedError

    def tensors(self) -> List[Tensor]:
        """The tensors held."""
        return [getattr(self, name) for name in self.fields]

    def map_tensors(self, function: Callable) -> 'Curvature':
        """A copy with ``function(tensor)`` for what is held."""
        new = copy.copy(self)
        for name in self.fields:
            setattr(new, name, function(getattr(self, name)))
        return new


class DiagonalCurvature(Curvature):
    """One number an output, ``values`` shaped like the outputs."""
    fields = ('values', )

    def __init__(self, channel_dim: int, values: Tensor) -> None:
        super().__init__(channel_dim)
        self.values = values

    @property
    def block_size(self) -> int:
        """See :meth:`Curvature.block_size`."""
        return 1

    def apply(self, z: Tensor) -> Tensor:
        """See :meth:`Curvature.apply`."""
        return self.values.to(z.dtype) * z

    def diagonal(self, z: Tensor) -> Tensor:
        """See :meth:`Curvature.diagonal`."""
        return self.values.to(z.dtype).expand_as(z)

    def dense_rows(self) -> Tuple[Tensor, Tensor]:
        """See :meth:`Curvature.dense_rows`."""
        flat = self._flat()
        rows = torch.arange(len(flat), device=flat.device)
        return rows, flat[..., None, None]

    def traces(self) -> Tuple[Tensor, Tensor]:
        """See :meth:`Curvature.traces`."""
        flat = self._flat()
        return torch.arange(len(flat), device=flat.device), flat.sum(-1)

    def take(self, at: Tensor, weights: Tensor) -> 'RowCurvature':
        """See :meth:`Curvature.take`."""
        values = self._flat()[at] * weights[:, None].to(self.values.dtype)
        return BlockCurvature(self.channel_dim, at, values[..., None, None])

    def _flat(self) -> Tensor:
        """[positions, C]"""
        flat = self.values.movedim(self.channel_dim, -1)
        return flat.reshape(-1, flat.size(-1))


class RowCurvature(Curvature):
    """Acts on single positions; those without curvature are not kept.

    Args:
        channel_dim (int): See :class:`Curvature`.
        rows (Tensor): ``[R]`` the positions with curvature, counted over all
            dims but the channels.
    """

    def __init__(self, channel_dim: int, rows: Tensor) -> None:
        super().__init__(channel_dim)
        self.rows = rows

    def apply(self, z: Tensor) -> Tensor:
        """See :meth:`Curvature.apply`."""
        return self._at_rows(z, self.apply_rows)

    def diagonal(self, z: Tensor) -> Tensor:
        """See :meth:`Curvature.diagonal`."""
        return self._at_rows(z, self.diagonal_rows)

    def _at_rows(self, z: Tensor, function: Callable) -> Tensor:
        """A function of the rows with curvature, zero at the others."""
        # z has a dim of vectors in front that the outputs do not have.
        dim = self.channel_dim + (self.channel_dim >= 0)
        moved = z.movedim(dim, -1)
        flat = moved.reshape(len(z), -1, moved.size(-1))
        out = torch.zeros_like(flat)
        out[:, self.rows] = function(flat[:, self.rows])
        return out.view(moved.shape).movedim(-1, dim)

    def apply_rows(self, z: Tensor) -> Tensor:
        """Multiply ``[M, rows, C]``."""
        raise NotImplementedError

    def diagonal_rows(self, z: Tensor) -> Tensor:
        """The diagonal, for every one of ``[M, rows, C]``."""
        raise NotImplementedError


class BlockCurvature(RowCurvature):
    """A k x k block for each group of k channels of a position.

    Args:
        channel_dim (int): See :class:`Curvature`.
        rows (Tensor): ``[R]`` the positions with curvature.
        blocks (Tensor): ``[R, C / k, k, k]``.
    """
    fields = ('rows', 'blocks')

    def __init__(self, channel_dim: int, rows: Tensor,
                 blocks: Tensor) -> None:
        super().__init__(channel_dim, rows)
        self.blocks = blocks

    @property
    def block_size(self) -> int:
        """See :meth:`Curvature.block_size`."""
        return self.blocks.size(-1)

    def dense_rows(self) -> Tuple[Tensor, Tensor]:
        """See :meth:`Curvature.dense_rows`."""
        return self.rows, self.blocks

    def traces(self) -> Tuple[Tensor, Tensor]:
        """See :meth:`Curvature.traces`."""
        diagonal = self.blocks.diagonal(dim1=-2, dim2=-1)
        return self.rows, diagonal.sum((1, 2))

    def take(self, at: Tensor, weights: Tensor) -> 'RowCurvature':
        """See :meth:`Curvature.take`."""
        weights = weights[:, None, None, None].to(self.blocks.dtype)
        return BlockCurvature(self.channel_dim, self.rows[at],
                              self.blocks[at] * weights)

    def apply_rows(self, z: Tensor) -> Tensor:
        """See :meth:`RowCurvature.apply_rows`."""
        grouped = z.unflatten(-1, self.blocks.shape[1:3])
        out = torch.einsum('rgij,mrgj->mrgi', self.blocks.to(z.dtype), grouped)
        return out.flatten(-2)

    def diagonal_rows(self, z: Tensor) -> Tensor:
        """See :meth:`RowCurvature.diagonal_rows`."""
        diagonal = self.blocks.diagonal(dim1=-2, dim2=-1).flatten(1)
        return diagonal.to(z.dtype).expand_as(z)


class SoftmaxCurvature(RowCurvature):
    """``w (diag(p) - p p^T)`` for each group of k channels of a position.

    Args:
        channel_dim (int): See :class:`Curvature`.
        rows (Tensor): ``[R]`` the positions with curvature.
        weights (Tensor): ``[R, C / k]`` the weights w >= 0.
        probs (Tensor): ``[R, C / k, k]`` the probabilities.
    """
    fields = ('rows', 'weights', 'probs')

    def __init__(self, channel_dim: int, rows: Tensor, weights: Tensor,
                 probs: Tensor) -> None:
        super().__init__(channel_dim, rows)
        self.weights = weights
        self.probs = probs

    @property
    def block_size(self) -> int:
        """See :meth:`Curvature.block_size`."""
        return self.probs.size(-1)

    def dense_rows(self) -> Tuple[Tensor, Tensor]:
        """See :meth:`Curvature.dense_rows`."""
        outer = self.probs.unsqueeze(-1) * self.probs.unsqueeze(-2)
        blocks = torch.diag_embed(self.probs) - outer
        return self.rows, self.weights[..., None, None] * blocks

    def traces(self) -> Tuple[Tensor, Tensor]:
        """See :meth:`Curvature.traces`."""
        spread = (self.probs * (1 - self.probs)).sum(-1)
        return self.rows, (self.weights * spread).sum(-1)

    def take(self, at: Tensor, weights: Tensor) -> 'RowCurvature':
        """See :meth:`Curvature.take`."""
        weights = weights[:, None].to(self.weights.dtype)
        return SoftmaxCurvature(self.channel_dim, self.rows[at],
                                self.weights[at] * weights, self.probs[at])

    def apply_rows(self, z: Tensor) -> Tensor:
        """See :meth:`RowCurvature.apply_rows`."""
        out = _softmax_product(
            self.probs.to(z.dtype), z.unflatten(-1, self.probs.shape[1:]))
        return (self.weights.to(z.dtype).unsqueeze(-1) * out).flatten(-2)

    def diagonal_rows(self, z: Tensor) -> Tensor:
        """See :meth:`RowCurvature.diagonal_rows`."""
        diagonal = self.weights.unsqueeze(-1) * self.probs * (1 - self.probs)
        return diagonal.flatten(1).to(z.dtype).expand_as(z)


def _softmax_product(probs: Tensor, z: Tensor) -> Tensor:
    """``(diag(p) - p p^T) z``, the matrix never formed."""
    weighted = probs * z
    return weighted - probs * weighted.sum(-1, keepdim=True)


def form_curvatures(outputs: Sequence[Tensor],
                    hvp: Callable[[List[Tensor]], List[Tensor]],
                    channel_dim: int,
                    name: str,
                    max_block: int = 16) -> List[Optional[Curvature]]:
    """Find and keep the curvature at the outputs of all calls of one layer.

    In this order, the first form that reproduces a random product is taken:
    a diagonal (2 products), softmax over groups of k channels (no more),
    dense k x k blocks for the divisors k <= ``max_block`` of C (k more each),
    one C x C block for a position that is apart from the others, where C <=
    ``WHOLE_POSITION`` (C + 1 more). Where none does, because the loss couples
    positions or more channels than that, the diagonal is estimated from
    ``max_block`` random signs (Bekas et al., 2007) with a warning. Negative
    parts are dropped. Calls that the loss couples with each other (boxes
    refined by one layer again and again) are probed one by one, at as many
    times the products.

    Args:
        outputs (Sequence[Tensor]): The outputs of the calls.
        hvp (Callable): Second derivative times a list shaped like them.
        channel_dim (int): The dim that holds the channels, 1 or -1; -1 for
            calls with different numbers of dims.
        name (str): The layer, for the warning.
        max_block (int): Largest dense block of a part of the channels.

    Returns:
        list[Curvature | None]: One a call, None where it is zero.
    """
    # The curvature has a number for every pair of outputs, but what a loss
    # leaves of it are small blocks that do not interact. A product with a
    # vector that is nonzero everywhere then shows all blocks at once, so the
    # cost is that of one block, whatever the number of positions.
    probe = _Probe(outputs, hvp, channel_dim)
    if probe.scale == 0:
        return [None] * len(outputs)

    # From the form that costs and holds the least to the one that costs the
    # most. Softmax comes before dense blocks: with 80 classes it is exact
    # where blocks would take 80 products and 6,400 numbers a position.
    curvatures = _try_diagonal(probe)
    channels = outputs[0].size(channel_dim)
    sizes = [k for k in range(2, channels + 1) if channels % k == 0]
    for size in sizes:
        curvatures = curvatures or _try_softmax(probe, size)
    for size in sizes:
        if size <= max_block:
            curvatures = curvatures or _try_blocks(probe, size)
    # A product for each channel is much to pay for nothing: that positions
    # are apart is made sure with one.
    if curvatures is None and max_block < channels <= WHOLE_POSITION and \
            probe.positions_apart():
        curvatures = _try_blocks(probe, channels)
    if curvatures is not None:
        return curvatures

    # A product with all calls at once mixes what calls do to each other into
    # the blocks. Probed with zeros at the other calls, each shows its own.
    if probe.coupled():
        return [
            form_curvatures([y], partial(_product_of_call, hvp, outputs, i),
                            channel_dim, name, max_block)[0]
            for i, y in enumerate(outputs)
        ]

    warnings.warn(
        f"the loss couples outputs of layer '{name}' across positions or "
        f'across more than {WHOLE_POSITION} channels; Gauss-Newton uses an '
        'estimate of the diagonal of its curvature. Use the exact Hessian to '
        'avoid this.',
        stacklevel=2)
    # Signs times products: what is off the diagonal has a random sign and
    # averages out, the diagonal itself has always the sign of a square.
    total = [p * s for p, s in zip(probe.products, probe.signs)]
    for _ in range(max_block - 1):
        signs = probe.random_signs()
        total = [t + p * s for t, p, s in zip(total, probe.hvp(signs), signs)]
    return [_diagonal(probe, t / max_block) for t in total]


def _product_of_call(hvp: Callable, outputs: Sequence[Tensor], index: int,
                     probes: List[Tensor]) -> List[Tensor]:
    """The product with a probe of one call, at that call alone."""
    every = [torch.zeros_like(y) for y in outputs]
    every[index] = probes[0]
    return [hvp(every)[index]]


class _Probe:
    """Products with two seeded vectors, of signs and of other numbers.

    Forms are read from the first and checked with the second: with signs
    alone, what a wrong form leaves out may cancel out where few positions
    have curvature.

    Attributes:
        outputs (list[Tensor]): The outputs of the calls, detached.
        signs, products (list[Tensor]): The first vector and its product.
        numbers, products2 (list[Tensor]): The second one and its product.
        scale (float): The largest number in a product; what is small beside
            it does not matter for the layer.
    """

    def __init__(self, outputs: Sequence[Tensor],
                 hvp: Callable[[List[Tensor]], List[Tensor]],
                 channel_dim: int) -> None:
        self.outputs = [y.detach() for y in outputs]
        self.hvp = hvp
        self.channel_dim = channel_dim
        self._draws = 0
        self.signs = self.random_signs()
        self.products = hvp(self.signs)

        def signed_sizes(shape, generator):
            sizes = 0.5 + torch.rand(shape, generator=generator)
            return _signs(shape, generator) * sizes

        # Calls share their signs, but have numbers of their own: so no form
        # fits both where the loss couples calls.
        self.numbers = [
            _drawn(y, signed_sizes, 1000 + i)
            for i, y in enumerate(self.outputs)
        ]
        self.products2 = hvp(self.numbers)
        # One number for the host to wait for, not one of each call.
        largest = [p.abs().max() for p in self.products + self.products2
                   if p.numel()]
        self.scale = float(torch.stack(largest).max()) if largest else 0.

    def random_signs(self) -> List[Tensor]:
        """New signs for every output."""
        self._draws += 1
        return [_drawn(y, _signs, self._draws) for y in self.outputs]

    def rows(self, tensors: List[Tensor]) -> List[Tensor]:
        """Tensors shaped like the outputs as ``[positions, C]``."""
        moved = [t.movedim(self.channel_dim, -1) for t in tensors]
        return [t.reshape(-1, t.size(-1)) for t in moved]

    @cached_property
    def curved(self) -> List[Tensor]:
        """The positions of each call where a product is not zero, [R]."""
        return [(p.any(1) | q.any(1)).nonzero().flatten() for p, q in zip(
            self.rows(self.products), self.rows(self.products2))]

    def at_curved(self, tensors: List[Tensor]) -> List[Tensor]:
        """Tensors shaped like the outputs as ``[R, C]``."""
        return [t[rows] for t, rows in zip(self.rows(tensors), self.curved)]

    def positions_apart(self) -> bool:
        """Whether the product at a position depends on that one alone."""
        # If so, numbers at half of the positions give the product there, and
        # nothing at the other half.
        halves = []
        for i, y in enumerate(self.outputs):
            signs = _drawn(y.narrow(self.channel_dim, 0, 1), _signs, 2000 + i)
            halves.append(signs.clamp(min=0))
        products = self.hvp([n * half for n, half in zip(self.numbers,
                                                         halves)])
        predicted = [p * half for p, half in zip(self.products2, halves)]
        return self.fits(predicted, products)

    def coupled(self) -> bool:
        """Whether the product at a call depends on another call."""
        if len(self.outputs) == 1:
            return False
        alone = [
            _product_of_call(self.hvp, self.outputs, i, [n])[0]
            for i, n in enumerate(self.numbers)
        ]
        return not self.fits(alone, self.products2)

    def fits(self, predicted: List[Tensor], products: List[Tensor]) -> bool:
        """Whether products are what a form predicts."""
        errors = [(p - q).abs().max()
                  for p, q in zip(predicted, products) if p.numel()]
        return not errors or bool(
            torch.stack(errors).max() <= TOLERANCE * self.scale)


def _drawn(y: Tensor, draw: Callable, seed: int) -> Tensor:
    """Random numbers shaped like y, the same for each image.

    No loss couples images, so they may share a draw; and the curvature of an
    image then does not depend on the others of its batch.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (1, *y.shape[1:]) if y.dim() > 2 else y.shape
    drawn = draw(shape, generator).to(y, non_blocking=True)
    return drawn.expand_as(y).contiguous()


def _signs(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, shape, generator=generator) * 2 - 1


def _try_diagonal(probe: _Probe) -> Optional[List[Optional[Curvature]]]:
    # Signs square to one: times the signs, D s is the diagonal of D.
    values = [p * s for p, s in zip(probe.products, probe.signs)]
    predicted = [v * n for v, n in zip(values, probe.numbers)]
    if not probe.fits(predicted, probe.products2):
        return None
    return [_diagonal(probe, v) for v in values]


def _diagonal(probe: _Probe, values: Tensor) -> Optional[Curvature]:
    """The positive part of a diagonal, in the smaller of two layouts."""
    values = values.clamp(min=0)
    flat, = probe.rows([values])
    rows = flat.any(1).nonzero().flatten()
    if len(rows) == 0:
        return None
    if len(rows) > SPARSE * len(flat):
        return DiagonalCurvature(probe.channel_dim, values)
    blocks = flat[rows][..., None, None]
    return BlockCurvature(probe.channel_dim, rows, blocks)


def _try_softmax(probe: _Probe,
                 size: int) -> Optional[List[Optional[Curvature]]]:
    # The probabilities are known from the outputs, so w alone is sought for
    # each group, and one number of the product at the group gives it:
    # s^T (w M) s over s^T M s.
    forms, predicted = [], []
    for tensors in zip(
            *map(probe.rows, (probe.outputs, probe.signs, probe.products,
                              probe.numbers, probe.products2))):
        y, sign, product, number, product2 = (
            t.unflatten(1, (-1, size)) for t in tensors)
        probs = y.softmax(-1)
        first, known = _softmax_weights(probs, sign, product)
        second, _ = _softmax_weights(probs, number, product2)
        weights = first.where(known, second)
        predicted.append((weights.unsqueeze(-1) *
                          _softmax_product(probs, number)).flatten(1))
        forms.append((weights.clamp(min=0), probs))
    if not probe.fits(predicted, probe.rows(probe.products2)):
        return None

    curvatures: List[Optional[Curvature]] = []
    for weights, probs in forms:
        rows = weights.any(1).nonzero().flatten()
        curvatures.append(
            SoftmaxCurvature(probe.channel_dim, rows, weights[rows],
                             probs[rows]) if len(rows) else None)
    return curvatures


def _softmax_weights(probs: Tensor, sign: Tensor,
                     product: Tensor) -> Tuple[Tensor, Tensor]:
    """The weights w of all groups, and where they are known.

    The same number added to all logits changes no probability, so the
    curvature is zero along it: a group of equal signs says nothing of w.
    """
    base = (sign * _softmax_product(probs, sign)).sum(-1)
    mixed = (sign != sign[..., :1]).any(-1)
    known = mixed & (base > torch.finfo(base.dtype).tiny)
    weights = (sign * product).sum(-1) / base.where(known,
                                                    torch.ones_like(base))
    return weights.where(known, torch.zeros_like(base)), known


def _try_blocks(probe: _Probe,
                size: int) -> Optional[List[Optional[Curvature]]]:
    # Ones at channel j of every group give column j of all blocks at once.
    # What is kept of it is where there is curvature: a box loss has some at
    # few positions, and all of them times all channels may be gigabytes.
    columns = []
    for j in range(size):
        ones = []
        for y in probe.outputs:
            shape = [1] * y.dim()
            shape[probe.channel_dim] = -1
            channel = torch.arange(
                y.size(probe.channel_dim), device=y.device)
            mask = (channel % size == j).to(y.dtype).view(shape)
            ones.append(mask.expand_as(y).contiguous())
        columns.append([p.unflatten(1, (-1, size))
                        for p in probe.at_curved(probe.hvp(ones))])
    blocks = [torch.stack(of_call, -1) for of_call in zip(*columns)]

    numbers = [n.unflatten(1, (-1, size))
               for n in probe.at_curved(probe.numbers)]
    predicted = [
        torch.einsum('rgij,rgj->rgi', b, n).flatten(1)
        for b, n in zip(blocks, numbers)
    ]
    if not probe.fits(predicted, probe.at_curved(probe.products2)):
        return None
    return [
        BlockCurvature(probe.channel_dim, rows, positive_part(block))
        if len(rows) else None for rows, block in zip(probe.curved, blocks)
    ]


def positive_part(blocks: Tensor) -> Tensor:
    """Symmetrise ``[..., k, k]`` and drop negative eigenvalues.

    Of all positive semi-definite matrices the result is the nearest one.

    Example:
        >>> positive_part(torch.diag(torch.tensor([2., -1.])))
        tensor([[2., 0.],
                [0., 0.]])
    """
    values, vectors = torch.linalg.eigh((blocks + blocks.mT) / 2)
    return (vectors * values.clamp(min=0).unsqueeze(-2)) @ vectors.mT
