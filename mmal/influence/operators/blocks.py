"""The blocks of a Gauss-Newton matrix, formed where they are small.

At one position the matrix is ``B (x) x x^T``: B the curvature at the outputs
there, x what the layer sees. Where B has blocks of k channels, so has the sum
over all positions: channels of different blocks never meet. A layer of C
channels with K inputs each then needs C / k matrices of (k K)^2 numbers in
place of (C K)^2, small enough to be formed and solved exactly.
"""
import math
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Optional,
    Protocol,
    Sequence,
    Tuple,
)

import torch
from torch import Tensor

from ..layers import Layer, input_patches
from ..vectors import ParamVector

# Entries of intermediate products at a time.
CHUNK = 1 << 26


class ChannelBlocks:
    """The blocks of one layer: G groups of k output channels each.

    Args:
        index (dict[str, int]): Where the layer's ``weight`` and, if it counts,
            its ``bias`` are among the parameters.
        size (int): k.
        like (ParamVector): Gives shapes, dtype and device.

    Attributes:
        matrix (Tensor): [G, k * K, k * K] with K the inputs of a channel and,
            if it counts, its bias.
    """

    def __init__(self, index: Dict[str, int], size: int,
                 like: ParamVector) -> None:
        self.index = index
        self.size = size
        weight = like[index['weight']]
        self.channels = len(weight)
        self.bias: Optional[int] = index.get('bias')
        self.inputs = weight[0].numel() + (self.bias is not None)
        self.matrix = weight.new_zeros(
            self.channels // size, size * self.inputs, size * self.inputs)

    def widen(self, size: int) -> None:
        """Let k be a multiple of what it was."""
        if size != self.size:
            self.matrix = merged(self.matrix[None], size * self.inputs)[0]
            self.size = size

    def gather(self, vector: ParamVector) -> Tensor:
        """The layer's part of a vector as rows [G, k * K]."""
        # The bias is one more input, which is always one. So a channel's
        # weights and bias share a block, as they do in the matrix.
        rows = vector[self.index['weight']].flatten(1)
        if self.bias is not None:
            rows = torch.cat([rows, vector[self.bias].unsqueeze(1)], 1)
        return rows.reshape(len(self.matrix), -1)

    def scatter(self, rows: Tensor, vector: ParamVector) -> None:
        """Put rows [G, k * K] into a vector, in place."""
        rows = rows.reshape(self.channels, -1)
        weight = self.index['weight']
        if self.bias is not None:
            vector[self.bias] = rows[:, -1]
            rows = rows[:, :-1]
        vector[weight] = rows.reshape(vector[weight].shape)

    def add(self, x: Tensor, blocks: Tensor) -> None:
        """Add the sum over rows of blocks (x) x x^T.

        Args:
            x (Tensor): [R, K] what the layer sees, without the bias' one.
            blocks (Tensor): [R, C / k', k', k'] with k' a divisor of k.
        """
        x = x.to(self.matrix.dtype)
        if self.bias is not None:
            x = torch.cat([x, x.new_ones(len(x), 1)], 1)
        blocks = merged(blocks.to(x.dtype), self.size)
        inputs = x.size(1)
        matrix = self.matrix.view(-1, self.size, inputs, self.size, inputs)
        # A pair of channels at a time: the sum over rows of b x x^T is then
        # x^T diag(b) x, one matrix product for every group. An einsum over
        # all would write out x x^T, K^2 numbers, for each of the rows.
        groups_at_once = max(1, CHUNK // max(1, x.numel()))
        for i in range(self.size):
            for j in range(self.size):
                total, weights = matrix[:, i, :, j], blocks[:, :, i, j]
                for start in range(0, len(total), groups_at_once):
                    chunk = slice(start, start + groups_at_once)
                    weighted = x.T * weights[:, chunk].T.unsqueeze(1)
                    total[chunk] += weighted @ x


def merged(blocks: Tensor, size: int) -> Tensor:
    """Blocks [R, G, k, k] as block-diagonal ones [R, G * k / size, …]."""
    rows, groups, own, _ = blocks.shape
    if own == size:
        return blocks
    count = size // own
    out = blocks.new_zeros(rows, groups // count, count, own, count, own)
    each = torch.arange(count, device=blocks.device)
    small = blocks.view(rows, groups // count, count, own, own)
    # Indexing both dims with each picks the diagonal, and moves it in front.
    out[:, :, each, :, each] = small.movedim(2, 0)
    return out.view(rows, groups // count, size, size)


class OnePass(Protocol):
    """One pass over the images, shared by several processes."""

    def __len__(self) -> int:
        """How many batches are this process' share."""

    def batches(self) -> Iterable[Any]:
        """This process' share of the images."""

    def gather(self, value: Any) -> List[Any]:
        """What each process has given."""

    def add_up(self, tensor: Tensor) -> None:
        """Replace a tensor by the sum of those of all processes."""


class AloneOnce:
    """:class:`OnePass` of a single process.

    Args:
        sequence (Sequence): The images by batch.
    """

    def __init__(self, sequence: Sequence) -> None:
        self.sequence = sequence

    def __len__(self) -> int:
        """See :class:`OnePass`."""
        return len(self.sequence)

    def batches(self) -> Iterable[Any]:
        """See :class:`OnePass`."""
        return (self.sequence[i] for i in range(len(self.sequence)))

    def gather(self, value: Any) -> List[Any]:
        """See :class:`OnePass`."""
        return [value]

    def add_up(self, tensor: Tensor) -> None:
        """See :class:`OnePass`."""


def form_blocks(once: OnePass, like: ParamVector, limit: int,
                progress: Callable[[int, int], None]) -> List[ChannelBlocks]:
    """The blocks of the mean over all images, in one pass over them.

    Args:
        once (OnePass): Batches of the images.
        like (ParamVector): Gives shapes, dtype and device.
        limit (int): Bytes of all blocks.
        progress (Callable): Called with (batches done, batches).

    Returns:
        list[ChannelBlocks]: Of the layers that some loss curves, equal in
        all processes.

    Raises:
        ValueError: They would be larger, or a layer has none. In all
            processes, whichever has found it.
    """
    blocks_of: Dict[Tuple, ChannelBlocks] = {}
    images, problem = 0, None
    try:
        for done, batch in enumerate(once.batches(), 1):
            images += batch.num_images
            for term in batch.terms:
                # of one layer the curvature may have larger blocks in
                # another batch
                key = term.layer.key
                _let_have(blocks_of, {key: term.curvature.block_size}, like,
                          limit)
                blocks_of[key].add(*term.rows())
            progress(done, len(once))
    except ValueError as e:  # the others wait for this process
        problem = str(e)
    found = once.gather(
        (images, {k: b.size for k, b in blocks_of.items()}, problem))
    problems = [p for *_, p in found if p]
    if problems:
        raise ValueError(problems[0])
    for _, sizes, _ in found:
        _let_have(blocks_of, sizes, like, limit)
    total = sum(n for n, *_ in found)
    ordered = [blocks_of[key] for key in sorted(blocks_of)]
    for blocks in ordered:
        once.add_up(blocks.matrix)
        blocks.matrix /= total
    return ordered


def _let_have(blocks_of: Dict[Tuple, ChannelBlocks], sizes: Dict[Tuple, int],
              like: ParamVector, limit: int) -> None:
    """Make or widen the blocks of layers."""
    new = {key: math.lcm(size, blocks_of[key].size if key in blocks_of else 1)
           for key, size in sizes.items()}
    if all(key in blocks_of and blocks_of[key].size == size
           for key, size in new.items()):
        return
    # what is too large is refused before it is allocated
    check_sizes({**{k: b.size for k, b in blocks_of.items()}, **new}, like,
                limit)
    for key, size in new.items():
        if key in blocks_of:
            blocks_of[key].widen(size)
        else:
            blocks_of[key] = ChannelBlocks(dict(key), size, like)


def sizes_of(batches: Sequence) -> Dict[Tuple, int]:
    """How many channels a block has, layer by layer.

    Args:
        batches (Sequence[GaussNewtonBatch]): The images by batch.

    Returns:
        dict: From the places of a layer's parameters to its k. Layers that
        share all their parameters are one.
    """
    sizes: Dict[Tuple, int] = {}
    for index in range(len(batches)):
        for term in batches[index].terms:
            key = term.layer.key
            sizes[key] = math.lcm(sizes.get(key, 1),
                                  term.curvature.block_size)
    return sizes


def check_sizes(sizes: Dict[Tuple, int], like: ParamVector,
                limit: int) -> None:
    """Raise ValueError if blocks would be larger than ``limit`` bytes, or
    layers share a part of their parameters."""
    places = [place for key in sizes for _, place in key]
    if len(set(places)) < len(places):
        raise ValueError('chosen layers share a parameter, so their blocks '
                         'are not independent.')
    need = 0
    for key, size in sizes.items():
        weight = like[dict(key)['weight']]
        inputs = weight[0].numel() + (len(key) > 1)
        need += len(weight) * size * inputs**2 * weight.element_size()
    if need > limit:
        raise ValueError(
            f'its blocks need {need / 2**30:.1f} GiB, more than '
            f'solver.max_gib = {limit / 2**30:.1f}.')


def curvature_rows(layer: Layer, x: Tensor, rows: Tensor) -> Tensor:
    """:func:`input_patches`, or what to do about layers that have none."""
    patches = input_patches(layer.module, x, rows)
    if patches is None:
        raise ValueError(f"layer '{layer.name}' is neither linear nor an "
                         'ungrouped 2D convolution.')
    return patches
