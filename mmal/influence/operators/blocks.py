"""The blocks of a Gauss-Newton matrix, formed where they are small."""
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
        rows = vector[self.layer.index['weight']].flatten(1)
        if self.bias is not None:
            rows = torch.cat([rows, vector[self.bias].unsqueeze(1)], 1)
        return rows.reshape(len(self.matrix), -1)

    def scatter(self, rows: Tensor, vector: ParamVector) -> None:
        """Put rows [G, k * K] into a vector, in place."""
        rows = rows.reshape(self.channels, -1)
        place = self.layer.index['weight']
        if self.bias is not None:
            vector[self.bias] = rows[:, -1]
            rows = rows[:, :-1]
        vector[place] = rows.reshape(vector[place].shape)

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
        shape = (-1, self.size, inputs, self.size, inputs)
        matrix = self.matrix.view(shape)
        for i in range(self.size):
            for j in range(self.size):
                self._add_pair(matrix[:, i, :, j], x, blocks[:, :, i, j])

    def _add_pair(self, total: Tensor, x: Tensor, weights: Tensor) -> None:
        """Add x^T diag(w_g) x for every group g."""
        step = max(1, CHUNK // max(1, x.numel()))
        for start in range(0, len(total), step):
            part = weights[:, start:start + step].T
            total[start:start + step] += (x.T * part.unsqueeze(1)) @ x


def merged(blocks: Tensor, size: int) -> Tensor:
    """Blocks [R, G, k, k] as block-diagonal ones [R, G * k / size, …]."""
    rows, groups, own, _ = blocks.shape
    if own == size:
        return blocks
    count = size // own
    out = blocks.new_zeros(rows, groups // count, count, own, count, own)
    each = torch.arange(count, device=blocks.device)
    parts = blocks.view(rows, groups // count, count, own, own)
    out[:, :, each, :, each] = parts.movedim(2, 0)
    return out.view(rows, groups // count, size, size)


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
    sizes = _block_sizes(batches)
    _check_memory(sizes, like, limit)
    found = {
        place: ChannelBlocks(layer, size, like)
        for place, (layer, size) in sizes.items()
    }
    images = 0
    for index in range(len(batches)):
        batch = batches[index]
        images += batch.num_images
        for term in batch.terms:
            x, blocks = term.rows()
            found[_place(term.layer)].add(x, blocks)
        progress(index + 1, len(batches))
    for block in found.values():
        block.matrix /= images
    return list(found.values())


def _block_sizes(batches: Sequence) -> Dict[tuple, Tuple[Layer, int]]:
    """Of each layer, the smallest k that holds the blocks of all batches."""
    sizes: Dict[tuple, Tuple[Layer, int]] = {}
    for index in range(len(batches)):
        for term in batches[index].terms:
            layer, place = term.layer, _place(term.layer)
            _, size = sizes.get(place, (layer, 1))
            size = math.lcm(size, term.curvature.block_size)
            sizes[place] = layer, size
    places = [p for place in sizes for p in place]
    if len(set(places)) < len(places):
        raise ValueError('chosen layers share a parameter, so their blocks '
                         'are not independent.')
    return sizes


def _place(layer: Layer) -> tuple:
    """A layer by its parameters: layers that share all are one."""
    return tuple(layer.index.values())


def _check_memory(sizes: Dict[tuple, Tuple[Layer, int]], like: ParamVector,
                  limit: int) -> None:
    need = 0
    for layer, size in sizes.values():
        weight = like[layer.index['weight']]
        inputs = weight[0].numel() + ('bias' in layer.index)
        need += len(weight) * size * inputs**2 * weight.element_size()
    if need > limit:
        raise ValueError(
            f'its blocks need {need / 2**30:.1f} GiB, more than '
            f'solver.max_gib = {limit / 2**30:.1f}.')


def curvature_rows(layer: Layer, x: Tensor, rows: Tensor) -> Tensor:
    """:func:`input_patches`, or what to do about layers that have none."""
    found = input_patches(layer.module, x, rows)
    if found is None:
        raise ValueError(f"layer '{layer.name}' is neither linear nor an "
                         'ungrouped 2D convolution.')
    return found
