"""Gradients of a pool, and their products with a gradient that is known by
these products alone."""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mmal.scores import Scores
from .base import check_rows
from .devices import RowsOnDevice, device_of
from .distances import blocks, check_finite


class GradientRows:
    """Columns e_i and a vector v of which ``v·e_i`` is given.

    As for :class:`~mmal.selection.low_rank.LowRank`, vectors of R = D + 1
    numbers stand for them: ``(v·e_i, e_i)`` for e_i, and for ``v - sum_k x_k
    e_k`` what makes a product with each of these, ``(1, -sum_k x_k e_k)``.

    Args:
        owner (str): The selector that asks.
        scores (Scores): Their values are the products with v, of N images;
            those of ``-inf`` are not looked at.
        embeddings (np.ndarray): [N, D] of any float type, finite; may be
            memory-mapped, it is read in blocks.
        device (str): Where products are taken, see
            :func:`~mmal.selection.devices.device_of`.

    Attributes:
        known (np.ndarray): bool [N], the images with a product.
        squares (np.ndarray): float64 [N], ``|e_i|²``.

    Raises:
        ValueError: If embeddings are missing, of a wrong shape or not finite,
            or a product is infinite.
    """

    def __init__(self, owner: str, scores: Scores, embeddings: np.ndarray,
                 device: str) -> None:
        check_rows(owner, 'embeddings', embeddings, len(scores))
        if (scores.values == np.inf).any():
            row = int(scores.values.argmax())
            raise ValueError(
                f'{owner} reads products of gradients, but the score of image '
                f'{scores.ids[row]} is infinite: the model has overflowed on '
                'it. Lower the learning rate.')
        self.known = scores.values > -np.inf
        self.squares = np.empty(len(scores))
        for start, block in blocks(embeddings):
            check_finite(block, start)
            self.squares[start:start + len(block)] = np.square(block).sum(1)
        self._embeddings = embeddings
        self._values = np.where(self.known, scores.values, 0.)
        there = device_of(device)
        self._values_there = torch.from_numpy(self._values).to(there)
        self._blocks = RowsOnDevice(
            lambda start, stop: np.array(embeddings[start:stop], np.float64),
            *embeddings.shape, there)

    @property
    def gram(self) -> np.ndarray:
        """float64 [R, R]: ``vector(i) @ gram @ vector(j)`` is e_i·e_j."""
        gram = np.eye(1 + self._embeddings.shape[1])
        gram[0, 0] = 0
        return gram

    @property
    def target(self) -> np.ndarray:
        """float64 [R], which stands for v."""
        return np.eye(1, 1 + self._embeddings.shape[1])[0]

    def vector(self, index: int) -> np.ndarray:
        """float64 [R], which stands for e_i."""
        row = self._embeddings[index].astype(np.float64)
        return np.concatenate([self._values[index:index + 1], row])

    def square_norms(self) -> Tensor:
        """float64 [N]: ``|e_i|²``, on the device."""
        return torch.from_numpy(self.squares).to(self._values_there.device)

    def products(self, weights: np.ndarray) -> Tensor:
        """float64 [N]: with what ``weights`` [R] stand for, in one pass."""
        weights = torch.from_numpy(weights).to(self._values_there.device,
                                               non_blocking=True)
        out = self._values_there * weights[0]
        for start, block in self._blocks:
            out[start:start + len(block)] += block @ weights[1:]
        return out
