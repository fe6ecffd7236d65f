"""The blocks of a Gauss-Newton matrix, formed where they are small.

At one position the matrix is ``B (x) x x^T``: B the curvature at the outputs
there, x what the layer sees. Where B has blocks of k channels, so has the sum
over all positions: channels of different blocks never meet. A layer of C
channels with K inputs each then needs C / k matrices of (k K)^2 numbers in
place of (C K)^2, small enough to be formed and solved exactly.
"""
import math
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from ..layers import Layer, input_patches
from ..vectors import ParamVector

# Entries of intermediate products at a time.
CHUNK = 1 << 26


class ChannelBlocks:
    """The blocks of one layer: G groups of k output channels each.

    Args:
        layer (Layer): A linear or ungrouped 2D convolution layer.
        size (int): k.
        like (ParamVector): Gives shapes, dtype and device.

    Attributes:
        matrix (Tensor): [G, k * K, k * K] with K the inputs of a channel and,
            if it counts, its bias.
    """

    def __init__(self, layer: Layer, size: int, like: ParamVector) -> None:
        self.layer = layer
        self.size = size
        weight = like[layer.index['weight']]
        self.channels = len(weight)
        self.bias: Optional[int] = layer.index.get('bias')
        inputs = weight[0].numel() + (self.bias is not None)
        self.matrix = weight.new_zeros(self.channels // size, size * inputs,
                                       size * inputs)

    def gather(self, vector: ParamVector) -> Tensor:
        """The layer's part of a vector as rows [G, k * K]."""
        # The bias is one more input, which is always one. So a channel's
        # weights and bias share a block, as they do in the matrix.
        rows = vector[self.layer.index['weight']].flatten(1)
        if self.bias is not None:
            rows = torch.cat([rows, vector[self.bias].unsqueeze(1)], 1)
        return rows.reshape(len(self.matrix), -1)

    def scatter(self, rows: Tensor, vector: ParamVector) -> None:
        """Put rows [G, k * K] into a vector, in place."""
        rows = rows.reshape(self.channels, -1)
        weight = self.layer.index['weight']
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


def block_sizes(batches: Sequence, like: ParamVector,
                limit: int) -> Dict[Tuple[int, ...], Tuple[Layer, int]]:
    """How many channels a block has, layer by layer.

    Args:
        batches (Sequence[GaussNewtonBatch]): The images by batch.
        like (ParamVector): Gives shapes, dtype and device.
        limit (int): Bytes of all blocks.

    Returns:
        dict: From the indices of a layer's parameters to the layer and its
        k. Layers that share all their parameters are one.

    Raises:
        ValueError: The blocks would be larger, or layers share a part of
            their parameters.
    """
    sizes: Dict[Tuple[int, ...], Tuple[Layer, int]] = {}
    for index in range(len(batches)):
        for term in batches[index].terms:
            params = tuple(term.layer.index.values())
            layer, size = sizes.get(params, (term.layer, 1))
            sizes[params] = layer, math.lcm(size, term.curvature.block_size)
    param_indices = [i for params in sizes for i in params]
    if len(set(param_indices)) < len(param_indices):
        raise ValueError('chosen layers share a parameter, so their blocks '
                         'are not independent.')

    need = 0
    for layer, size in sizes.values():
        weight = like[layer.index['weight']]
        inputs = weight[0].numel() + ('bias' in layer.index)
        need += len(weight) * size * inputs**2 * weight.element_size()
    if need > limit:
        raise ValueError(
            f'its blocks need {need / 2**30:.1f} GiB, more than '
            f'solver.max_gib = {limit / 2**30:.1f}.')
    return sizes


def form_blocks(batches: Sequence, like: ParamVector, limit: int,
                progress: Callable[[int, int], None]) -> List[ChannelBlocks]:
    """The blocks of the mean over all images.

    Args:
        batches (Sequence[GaussNewtonBatch]): The images by batch.
        like (ParamVector): Gives shapes, dtype and device.
        limit (int): Bytes of all blocks.
        progress (Callable): Called with (batches done, batches).

    Raises:
        ValueError: They would be larger, or a layer has none.
    """
    # Two passes: of one layer the curvature may have larger blocks in another
    # batch, and nothing can be added up before the size is known. What is too
    # large is refused before anything is allocated.
    sizes = block_sizes(batches, like, limit)
    blocks_of = {
        params: ChannelBlocks(layer, size, like)
        for params, (layer, size) in sizes.items()
    }
    images = 0
    for index in range(len(batches)):
        batch = batches[index]
        images += batch.num_images
        for term in batch.terms:
            x, curvature = term.rows()
            blocks_of[tuple(term.layer.index.values())].add(x, curvature)
        progress(index + 1, len(batches))
    for blocks in blocks_of.values():
        blocks.matrix /= images
    return list(blocks_of.values())


def curvature_rows(layer: Layer, x: Tensor, rows: Tensor) -> Tensor:
    """:func:`input_patches`, or what to do about layers that have none."""
    patches = input_patches(layer.module, x, rows)
    if patches is None:
        raise ValueError(f"layer '{layer.name}' is neither linear nor an "
                         'ungrouped 2D convolution.')
    return patches
