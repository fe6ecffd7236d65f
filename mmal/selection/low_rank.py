"""The matrix of all similarities of a pool as a product of thin ones."""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .devices import RowsOnDevice
from .distances import blocks, check_finite

# Differences below this part of the length are rounding.
_ALIKE = 1e-12
_CPU = torch.device('cpu')


class LowRank:
    """A matrix D = V·T·Vᵀ of N x N entries, never formed.

    Row j of V [N, R] is ``(extra_j, (e_j - origin)·factor_j)``, e_j the
    embedding of image j, and is computed when it is needed. Some rows of D
    can be left out (as if they were 0); the columns cannot.

    Args:
        embeddings (np.ndarray): [N, D] of any float type, finite; may be
            memory-mapped, it is read in blocks.
        rows (np.ndarray): bool [N], the rows of D that count.
        origin (np.ndarray): float64 [D].
        factor (np.ndarray): float64 [N].
        extra (np.ndarray): float64 [N, R - D].
        transform (np.ndarray): T, float64 [R, R].
        device (torch.device): Where whatever has N rows is computed.
    """

    def __init__(self, embeddings: np.ndarray, rows: np.ndarray,
                 origin: np.ndarray, factor: np.ndarray, extra: np.ndarray,
                 transform: np.ndarray, device: torch.device) -> None:
        self._blocks = RowsOnDevice(
            lambda start, stop: np.array(embeddings[start:stop], np.float64),
            *embeddings.shape, device)
        self._rows, self._origin, self._factor, self._extra, \
            self._transform = (torch.from_numpy(a).to(device) for a in (
                rows, origin, factor, extra, transform))

        def vector(index: int) -> np.ndarray:
            row = embeddings[index].astype(float)
            return np.concatenate([extra[index],
                                   (row - origin) * factor[index]])

        self._vector = vector
        # V @ gram @ V.T is D.T @ D: with it, R numbers stand for a column of
        # N in every inner product of columns.
        total = self._transform.new_zeros(self.rank, self.rank)
        for start, block in self._blocks:
            v = self._vectors(block, start)
            v = v * self._rows[start:start + len(v), None]
            total += v.T @ v
        self._gram = self._transform.T @ total @ self._transform

    @property
    def rank(self) -> int:
        """R; the rank of D is at most this."""
        return len(self._transform)

    @property
    def gram(self) -> np.ndarray:
        """float64 [R, R]: Vᵀ·V of the rows that count, between T and T."""
        return self._gram.cpu().numpy()

    def vector(self, index: int) -> np.ndarray:
        """float64 [R]: row ``index`` of V, which stands for a column of D.

        The inner product of the columns i and j is
        ``vector(i) @ gram @ vector(j)``.
        """
        return self._vector(index)

    def products(self, weights: np.ndarray) -> Tensor:
        """float64 [N]: V times ``weights`` [R], in one pass."""
        # The rows of V are not formed: e·w - origin·w is cheaper by a copy of
        # the embeddings.
        width = self._extra.shape[1]
        weights = torch.from_numpy(weights).to(self._factor.device,
                                               non_blocking=True)
        out = torch.empty_like(self._factor)
        for start, block in self._blocks:
            torch.mv(block, weights[width:], out=out[start:start + len(block)])
        out -= self._origin @ weights[width:]
        out *= self._factor
        out += self._extra @ weights[:width]
        return out

    def project(self, values: np.ndarray) -> np.ndarray:
        """float64 [R]: (V·T)ᵀ times ``values`` [N].

        The inner product of ``values`` and column j is
        ``project(values) @ vector(j)``.
        """
        values = torch.from_numpy(values).to(self._factor.device)
        values = values.masked_fill(~self._rows, 0)
        total = self._transform.new_zeros(self.rank)
        for start, block in self._blocks:
            total += values[start:start + len(block)] @ \
                self._vectors(block, start)
        return (self._transform.T @ total).cpu().numpy()

    def square_norms(self) -> Tensor:
        """float64 [N]: the squared norms of the columns of D."""
        out = torch.empty_like(self._factor)
        for start, block in self._blocks:
            v = self._vectors(block, start)
            out[start:start + len(v)] = ((v @ self._gram) * v).sum(1)
        return out.clamp_(min=0)  # rounding may make them negative

    def _vectors(self, block: Tensor, start: int) -> Tensor:
        """float64 [M, R]: rows of V, of a block of embeddings."""
        rows = slice(start, start + len(block))
        return torch.cat([
            self._extra[rows],
            (block - self._origin) * self._factor[rows, None]
        ], 1)


def cosine_similarity(embeddings: np.ndarray, rows: np.ndarray,
                      device: torch.device = _CPU) -> LowRank:
    """``D_ij = cos(e_i, e_j)``, of rank D; 0 for a vector of zeros.

    Args:
        embeddings (np.ndarray): [N, D].
        rows (np.ndarray): bool [N], the rows of D that count.
        device (torch.device): See :class:`LowRank`.

    Raises:
        ValueError: If an embedding is not finite.
    """
    number, dim = embeddings.shape
    norms = _norms(embeddings, np.zeros(dim))
    factor = np.divide(1, norms, where=norms > 0, out=np.zeros(number))
    return LowRank(embeddings, rows, np.zeros(dim), factor,
                   np.empty((number, 0)), np.eye(dim), device)


def squared_euclidean(embeddings: np.ndarray, rows: np.ndarray,
                      device: torch.device = _CPU) -> LowRank:
    """``D_ij = ||e_i - e_j||²`` divided by the mean over all pairs of the
    rows that count; of rank D + 2. 0 if these are all alike.

    ``||f_i - f_j||² = ||f_i||² + ||f_j||² - 2 f_i·f_j`` with f the embeddings
    moved to their mean, for precision.

    Args:
        embeddings (np.ndarray): [N, D].
        rows (np.ndarray): bool [N], the rows of D that count; at least one.
        device (torch.device): See :class:`LowRank`.

    Raises:
        ValueError: If an embedding is not finite.
    """
    number, dim = embeddings.shape
    total = np.zeros(dim)
    for start, block in blocks(embeddings):
        total += block[rows[start:start + len(block)]].sum(0)
    origin = total / rows.sum()
    norms = _norms(embeddings, origin)
    # The mean squared distance over all pairs is twice the mean squared
    # distance from the mean.
    scale = np.sqrt(2 * np.square(norms[rows]).mean())
    differ = scale > _ALIKE * np.linalg.norm(origin)
    factor = np.full(number, 1 / scale if differ else 0.0)
    # Row j of V is (1, |f_j|^2, f_j): T pairs each norm with the other's one.
    transform = -2 * np.eye(dim + 2)
    transform[:2, :2] = [[0, 1], [1, 0]]
    extra = np.stack([np.full(number, float(differ)),
                      np.square(norms * factor)], 1)
    return LowRank(embeddings, rows, origin, factor, extra, transform,
                   device)


SIMILARITIES = dict(cosine=cosine_similarity, euclidean=squared_euclidean)


def _norms(embeddings: np.ndarray, origin: np.ndarray) -> np.ndarray:
    out = np.empty(len(embeddings))
    for start, block in blocks(embeddings):
        check_finite(block, start)
        out[start:start + len(block)] = np.linalg.norm(block - origin, axis=1)
    return out
