r"""The curvature of per-image losses with respect to a layer's outputs.

Losses of dense predictors are sums over positions, so
:math:`\partial^2 l / \partial z^2` is block-diagonal by position, and often
finer: C numbers for sigmoid classes, one for a centerness, a 4 x 4 block for
the box of a positive, ``w (diag(p) - p p^T)`` for a softmax.
:func:`form_curvatures` finds out which by Hessian-vector products with a few
probes, and keeps the positive semi-definite part. Curvature between positions,
between calls and between layers (box and centerness, say) is left out.
"""
import copy
import warnings
from functools import partial
from typing import Callable, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from .cache import unique_bytes

# Relative misfit below which a form counts as found.
TOLERANCE = 1e-3

# Share of positions with curvature up to which only those are kept.
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

    def tensors(self) -> List[Tensor]:
        """The tensors held."""
        return [getattr(self, name) for name in self.fields]

    def map_tensors(self, function: Callable) -> 'Curvature':
        """A copy with ``function(tensor)`` for what is held."""
        new = copy.copy(self)
        for name in self.fields:
            setattr(new, name, function(getattr(self, name)))
        return new

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return unique_bytes(self.tensors())


class DiagonalCurvature(Curvature):
    """One number an output, ``values`` shaped like the outputs."""
    fields = ('values', )

    def __init__(self, channel_dim: int, values: Tensor) -> None:
        super().__init__(channel_dim)
        self.values = values

    @property
    def block_size(self) -> int:
        return 1

    def apply(self, z: Tensor) -> Tensor:
        return self.values.to(z.dtype) * z

    def diagonal(self, z: Tensor) -> Tensor:
        return self.values.to(z.dtype).expand_as(z)

    def dense_rows(self) -> Tuple[Tensor, Tensor]:
        flat = self.values.movedim(self.channel_dim, -1)
        flat = flat.reshape(-1, flat.size(-1))
        rows = torch.arange(len(flat), device=flat.device)
        return rows, flat[..., None, None]


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
        return self._at_rows(z, self.apply_rows)

    def diagonal(self, z: Tensor) -> Tensor:
        return self._at_rows(z, self.diagonal_rows)

    def _at_rows(self, z: Tensor, function: Callable) -> Tensor:
        """A function of the rows with curvature, zero at the others."""
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
        return self.blocks.size(-1)

    def dense_rows(self) -> Tuple[Tensor, Tensor]:
        return self.rows, self.blocks

    def apply_rows(self, z: Tensor) -> Tensor:
        grouped = z.unflatten(-1, self.blocks.shape[1:3])
        out = torch.einsum('rgij,mrgj->mrgi', self.blocks.to(z.dtype), grouped)
        return out.flatten(-2)

    def diagonal_rows(self, z: Tensor) -> Tensor:
        found = self.blocks.diagonal(dim1=-2, dim2=-1).flatten(1)
        return found.to(z.dtype).expand_as(z)


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
        return self.probs.size(-1)

    def dense_rows(self) -> Tuple[Tensor, Tensor]:
        outer = self.probs.unsqueeze(-1) * self.probs.unsqueeze(-2)
        blocks = torch.diag_embed(self.probs) - outer
        return self.rows, self.weights[..., None, None] * blocks

    def apply_rows(self, z: Tensor) -> Tensor:
        out = _softmax_product(
            self.probs.to(z.dtype), z.unflatten(-1, self.probs.shape[1:]))
        return (self.weights.to(z.dtype).unsqueeze(-1) * out).flatten(-2)

    def diagonal_rows(self, z: Tensor) -> Tensor:
        found = self.weights.unsqueeze(-1) * self.probs * (1 - self.probs)
        return found.flatten(1).to(z.dtype).expand_as(z)


def _softmax_product(probs: Tensor, z: Tensor) -> Tensor:
    moved = probs * z
    return moved - probs * moved.sum(-1, keepdim=True)


def form_curvatures(outputs: Sequence[Tensor],
                    hvp: Callable[[List[Tensor]], List[Tensor]],
                    channel_dim: int,
                    name: str,
                    max_block: int = 16) -> List[Optional[Curvature]]:
    """Find and keep the curvature at the outputs of all calls of one layer.

    In this order, the first form that reproduces a random product is taken:
    a diagonal (2 products), softmax over groups of k channels (no more),
    dense k x k blocks for the divisors k <= ``max_block`` of C (k more each).
    Where none does, because the loss couples positions or more channels than
    that, the diagonal is estimated from ``max_block`` random signs (Bekas et
    al., 2007) with a warning. Negative parts are dropped. Calls that the loss
    couples with each other (boxes refined by one layer again and again) are
    probed one by one, at as many times the products.

    Args:
        outputs (Sequence[Tensor]): The outputs of the calls.
        hvp (Callable): Second derivative times a list shaped like them.
        channel_dim (int): The dim that holds the channels, 1 or -1; -1 for
            calls with different numbers of dims.
        name (str): The layer, for the warning.
        max_block (int): Largest dense block.

    Returns:
        list[Curvature | None]: One a call, None where it is zero.
    """
    probe = _Probe(outputs, hvp, channel_dim)
    if probe.scale == 0:
        return [None] * len(outputs)
    found = _exact_form(probe, max_block)
    if found is None and probe.coupled():
        return [
            form_curvatures([y], partial(_product_of_call, hvp, outputs, i),
                            channel_dim, name, max_block)[0]
            for i, y in enumerate(outputs)
        ]
    return found or _estimate_diagonal(probe, name, max_block)


def _exact_form(probe: '_Probe',
                max_block: int) -> Optional[List[Optional[Curvature]]]:
    channels = probe.outputs[0].size(probe.channel_dim)
    sizes = [k for k in range(2, channels + 1) if channels % k == 0]
    found = _try_diagonal(probe)
    for size in sizes:
        found = found or _try_softmax(probe, size)
    for size in sizes:
        if size <= max_block:
            found = found or _try_blocks(probe, size)
    return found


def _product_of_call(hvp: Callable, outputs: Sequence[Tensor], index: int,
                     probes: List[Tensor]) -> List[Tensor]:
    """The product with a probe of one call, at that call alone."""
    every = [torch.zeros_like(y) for y in outputs]
    every[index] = probes[0]
    return [hvp(every)[index]]


class _Probe:
    """Products with two seeded vectors, of signs and of other numbers.

    Forms are checked with the second: with signs alone, what a wrong form
    leaves out may cancel out where few positions have curvature.
    """

    def __init__(self, outputs, hvp, channel_dim) -> None:
        self.outputs = [y.detach() for y in outputs]
        self.channel_dim = channel_dim
        self._hvp = hvp
        self._draws = 0
        self.signs = self.random_signs()
        self.products = self.hvp(self.signs)
        self.numbers = self.random_numbers()
        self.products2 = self.hvp(self.numbers)
        self.scale = max(
            (float(p.abs().max()) for p in self.products + self.products2
             if p.numel()), default=0.)

    def random_signs(self) -> List[Tensor]:
        """The same for each image and call, as no loss couples images: what
        an image gives then does not depend on the others of its batch."""
        self._draws += 1
        return [_drawn(y, _signs, self._draws) for y in self.outputs]

    def random_numbers(self) -> List[Tensor]:
        """Signs times 0.5 to 1.5; calls have their own, so that a form does
        not fit where the loss couples calls."""
        return [
            _drawn(y, _numbers, 1000 + i) for i, y in enumerate(self.outputs)
        ]

    def hvp(self, probes: List[Tensor]) -> List[Tensor]:
        return self._hvp(probes)

    def rows(self, tensors: List[Tensor]) -> List[Tensor]:
        moved = [t.movedim(self.channel_dim, -1) for t in tensors]
        return [t.reshape(-1, t.size(-1)) for t in moved]

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
        return all(
            bool((p - q).abs().max() <= TOLERANCE * self.scale)
            for p, q in zip(predicted, products) if p.numel())


def _drawn(y: Tensor, draw: Callable, seed: int) -> Tensor:
    """Like y, the same for each image."""
    generator = torch.Generator().manual_seed(seed)
    shape = (1, *y.shape[1:]) if y.dim() > 2 else y.shape
    return draw(shape, generator).to(y).expand_as(y).contiguous()


def _signs(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, shape, generator=generator) * 2 - 1


def _numbers(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    sizes = 0.5 + torch.rand(shape, generator=generator)
    return _signs(shape, generator) * sizes


def _try_diagonal(probe: _Probe) -> Optional[List[Optional[Curvature]]]:
    values = [p * s for p, s in zip(probe.products, probe.signs)]
    predicted = [v * s for v, s in zip(values, probe.numbers)]
    if not probe.fits(predicted, probe.products2):
        return None
    return [_diagonal(probe, v) for v in values]


def _diagonal(probe: _Probe, values: Tensor) -> Optional[Curvature]:
    values = values.clamp(min=0)
    flat = values.movedim(probe.channel_dim, -1)
    flat = flat.reshape(-1, flat.size(-1))
    rows = flat.any(1).nonzero().flatten()
    if len(rows) == 0:
        return None
    if len(rows) > SPARSE * len(flat):
        return DiagonalCurvature(probe.channel_dim, values)
    blocks = flat[rows][..., None, None]
    return BlockCurvature(probe.channel_dim, rows, blocks)


def _try_softmax(probe: _Probe,
                 size: int) -> Optional[List[Optional[Curvature]]]:
    found, predicted = [], []
    parts = zip(
        probe.rows(probe.outputs), probe.rows(probe.signs),
        probe.rows(probe.products), probe.rows(probe.numbers),
        probe.rows(probe.products2))
    for y, *draws in parts:
        group = (-1, size)
        probs = y.unflatten(1, group).softmax(-1)
        sign, product, number, product2 = (
            t.unflatten(1, group) for t in draws)
        first, known = _softmax_weights(probs, sign, product)
        second, _ = _softmax_weights(probs, number, product2)
        weights = first.where(known, second)
        other = _softmax_product(probs, number)
        predicted.append((weights.unsqueeze(-1) * other).flatten(1))
        found.append((weights.clamp(min=0), probs))
    if not probe.fits(predicted, probe.rows(probe.products2)):
        return None
    return [_softmax(probe, w, p) for w, p in found]


def _softmax_weights(probs: Tensor, sign: Tensor,
                     product: Tensor) -> tuple:
    """Weights, and where they are known: equal signs say nothing."""
    base = (sign * _softmax_product(probs, sign)).sum(-1)
    mixed = (sign != sign[..., :1]).any(-1)
    known = mixed & (base > torch.finfo(base.dtype).tiny)
    weights = (sign * product).sum(-1) / base.where(known,
                                                    torch.ones_like(base))
    return weights.where(known, torch.zeros_like(base)), known


def _softmax(probe: _Probe, weights: Tensor,
             probs: Tensor) -> Optional[Curvature]:
    rows = weights.any(1).nonzero().flatten()
    if len(rows) == 0:
        return None
    return SoftmaxCurvature(probe.channel_dim, rows, weights[rows],
                            probs[rows])


def _try_blocks(probe: _Probe,
                size: int) -> Optional[List[Optional[Curvature]]]:
    columns = [_column(probe, size, j) for j in range(size)]
    blocks = [torch.stack(c, -1) for c in zip(*columns)]
    numbers = [n.unflatten(1, (-1, size)) for n in probe.rows(probe.numbers)]
    predicted = [
        torch.einsum('rgij,rgj->rgi', b, n).flatten(1)
        for b, n in zip(blocks, numbers)
    ]
    if not probe.fits(predicted, probe.rows(probe.products2)):
        return None
    return [_block(probe, b) for b in blocks]


def _column(probe: _Probe, size: int, j: int) -> List[Tensor]:
    """Column j of every block at once, ``[rows, C / size, size]`` a call."""
    ones = []
    for y in probe.outputs:
        shape = [1] * y.dim()
        shape[probe.channel_dim] = -1
        channel = torch.arange(y.size(probe.channel_dim), device=y.device)
        mask = (channel % size == j).to(y.dtype).view(shape)
        ones.append(mask.expand_as(y).contiguous())
    return [p.unflatten(1, (-1, size)) for p in probe.rows(probe.hvp(ones))]


def _block(probe: _Probe, blocks: Tensor) -> Optional[Curvature]:
    rows = blocks.flatten(1).any(1).nonzero().flatten()
    if len(rows) == 0:
        return None
    kept = positive_part(blocks[rows])
    return BlockCurvature(probe.channel_dim, rows, kept)


def positive_part(blocks: Tensor) -> Tensor:
    """Symmetrise ``[..., k, k]`` and drop negative eigenvalues.

    Example:
        >>> positive_part(torch.diag(torch.tensor([2., -1.])))
        tensor([[2., 0.],
                [0., 0.]])
    """
    values, vectors = torch.linalg.eigh((blocks + blocks.mT) / 2)
    return (vectors * values.clamp(min=0).unsqueeze(-2)) @ vectors.mT


def _estimate_diagonal(probe: _Probe, name: str,
                       count: int) -> List[Optional[Curvature]]:
    warnings.warn(
        f"the loss couples outputs of layer '{name}' across positions or "
        f'across more than {count} channels; Gauss-Newton uses an estimate of '
        'the diagonal of its curvature. Use the exact Hessian to avoid this.',
        stacklevel=2)
    total = [p * s for p, s in zip(probe.products, probe.signs)]
    for _ in range(count - 1):
        signs = probe.random_signs()
        total = [t + p * s for t, p, s in zip(total, probe.hvp(signs), signs)]
    return [_diagonal(probe, t / count) for t in total]
