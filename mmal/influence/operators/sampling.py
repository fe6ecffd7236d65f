r"""Some positions of each image that stand for all of them.

The Gauss-Newton matrix is a sum over positions, ``B (x) x x^T``: B the
curvature at the outputs there, x what the layer sees. Most of the sum comes
from few positions. A position is kept with a probability proportional to its
share :math:`\operatorname{tr}(B)\,(|x|^2 + 1)` of the matrix' trace, and what
is kept is divided by that probability, so that the mean over all draws is the
sum itself (importance sampling; Horvitz & Thompson, 1952).
"""
from __future__ import annotations

from typing import List, Optional, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmal.random_tensors import TensorStreams
from mmal.randomness import Key


def squared_inputs(module: nn.Module, x: Tensor) -> Optional[Tensor]:
    """The squared length of what a layer sees, at each output position.

    Args:
        module (nn.Module): A linear or ungrouped 2D convolution layer.
        x (Tensor): Its input.

    Returns:
        Tensor | None: [positions], counted as :func:`input_patches` does;
        None for other layers.
    """
    if isinstance(module, nn.Linear):
        return x.float().square().sum(-1).flatten()
    if not isinstance(module, nn.Conv2d) or module.groups != 1:
        return None
    mode = module.padding_mode
    x = F.pad(x.float(), module._reversed_padding_repeated_twice,
              'constant' if mode == 'zeros' else mode)
    ones = x.new_ones(1, 1, *module.kernel_size)
    return F.conv2d(x.square().sum(1, keepdim=True), ones,
                    stride=module.stride, dilation=module.dilation).flatten()


def keep_some(masses: List[Tensor], count: int,
              streams: TensorStreams) -> List[Tensor]:
    """With what weight each position is kept.

    Args:
        masses (list[Tensor]): For each of the calls of a layer [B, P], each
            position's share of the trace, >= 0.
        count (int): How many positions of an image are kept, at most and
            but for the draw; all where there are no more.
        streams (TensorStreams): Of the B images.

    Returns:
        list[Tensor]: float64 [B, P], 0 for what is not kept and 1 / p for
        what is kept with probability p.
    """
    every = torch.cat([m.double() for m in masses], 1)
    total = every.sum(1, keepdim=True)
    few = (every > 0).sum(1, keepdim=True) <= count
    probability = (every * (count / total.clamp(
        min=torch.finfo(total.dtype).tiny))).clamp(max=1)
    probability = torch.where(few, (every > 0).double(), probability)
    kept = streams.uniform(every.shape[1:], every.device) < probability
    weights = torch.where(kept, 1 / probability, 0.)
    return list(weights.split([m.size(1) for m in masses], 1))


def sampled_terms(terms: list, count: int, ids: Sequence[Key],
                  *key: Key) -> list:
    """The terms of a batch with some positions for all.

    Terms of layers whose positions are few, cannot be counted image by image
    or have no patches stay as they are.

    Args:
        terms (list): Of a :class:`GaussNewtonBatch`.
        count (int): See :func:`keep_some`; per layer.
        ids (Sequence[int | str]): Of the B images.
        *key (int | str): What is drawn.
    """
    by_layer: dict = {}
    for term in terms:
        by_layer.setdefault(term.layer.name, []).append(term)
    images, new = len(ids), []
    for layer, of_layer in by_layer.items():
        sizes = [term.positions for term in of_layer]
        masses = [term.masses() for term in of_layer]
        fits = all(m is not None for m in masses) and not any(
            n % images for n in sizes)
        if not fits or sum(sizes) <= images * count:
            new += of_layer
            continue
        # by the layer's name: of another batch some layers have no curvature
        weights = keep_some([m.view(images, -1) for m in masses], count,
                            TensorStreams(ids, *key, layer))
        for term, weight in zip(of_layer, weights):
            rows = weight.flatten().nonzero()[:, 0]
            if len(rows):
                new.append(term.take(rows, weight.flatten()[rows]))
    return new
