"""Least squares with bounded coefficients, column by column."""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# A column whose part outside the span of the others is smaller than this
# (squared, relative) is one of their combinations.
_DEPENDENT = 1e-10


class BoxLeastSquares:
    """``min ||sum_k x_k d_k - s||² + ridge ||x||²`` for ``0 <= x_k <= upper``,
    solved again after each column that is added.

    An active set method: columns are free, or held at a bound. The step to the
    minimum over the free ones solves their normal equations by a Cholesky
    factor that is updated when one becomes free or is held; it is cut where a
    coefficient reaches a bound. At a minimum the held column whose gradient
    points inwards the most is set free (Lawson & Hanson 1974, chapter 23,
    with two bounds). Columns are never written out: d_k is known by a vector
    v_k, ``d_j·d_k = v_j·gram·v_k`` and ``d_k·s = v_k·target``.

    Args:
        gram (np.ndarray): float64 [R, R].
        target (np.ndarray): float64 [R].
        square_norm (float): ``||s||²``; gradients are compared with it.
        tolerance (float): A held column is set free only if this alone would
            lower the objective by more than this part of ``||s||²``.
        upper (float): The upper bound, above 0; may be infinite.
        ridge (float): At least 0.
    """

    def __init__(self,
                 gram: np.ndarray,
                 target: np.ndarray,
                 square_norm: float,
                 tolerance: float = 1e-10,
                 upper: float = 1.,
                 ridge: float = 0.) -> None:
        self._upper = upper
        self._ridge = ridge
        self._gram = gram
        self._target = target
        self._least_gain = tolerance * square_norm
        self._vectors = np.empty((0, len(target)))
        self._norms = np.empty(0)  # squared
        self._x = np.empty(0)
        self._free: list[int] = []  # in the order of the factor
        self._factor = _Cholesky()

    @property
    def x(self) -> np.ndarray:
        """float64 [K], the coefficients; in [0, upper]."""
        return self._x

    @property
    def residual(self) -> np.ndarray:
        """float64 [R]: times v_j it is ``d_j·(s - sum_k x_k d_k)``, for any
        column."""
        return self._target - self._gram @ (self._x @ self._vectors)

    def add(self, vector: np.ndarray) -> bool:
        """Add a column and solve again.

        Args:
            vector (np.ndarray): v, float64 [R].

        Returns:
            bool: False, and nothing is changed, if the column is a linear
            combination of the free ones.
        """
        norm = float(vector @ self._gram @ vector) + self._ridge
        if not self._factor.append(self._inner(vector), norm):
            return False
        self._vectors = np.vstack([self._vectors, vector])
        self._norms = np.append(self._norms, norm)
        self._x = np.append(self._x, 0.0)
        self._free.append(len(self._x) - 1)

        # From the last solution, which the new column changes little. Finite
        # in exact arithmetic; the limit guards against rounding.
        for _ in range(20 * len(self._x) + 20):
            if not self._step(self._gradient()[self._free]):
                continue  # on the way a column was held
            if not self._release(self._gradient()):
                break
        return True

    def _gradient(self) -> np.ndarray:
        """float64 [K], half of that of the objective, downwards."""
        return self._vectors @ self.residual - self._ridge * self._x

    def _step(self, gradient: np.ndarray) -> bool:
        """Go towards the minimum over the free columns; whether it is
        reached."""
        # The gradient is the residual of the normal equations, so this leads
        # to where it is zero. Each coefficient has room up to the bound that
        # it moves to; who has the least meets it first.
        x = self._x[self._free]
        move = self._factor.solve(gradient)
        bound = np.where(move > 0, self._upper, 0.)
        room = np.divide(bound - x, move, where=move != 0,
                         out=np.full(len(x), np.inf))
        first = int(room.argmin()) if len(x) else 0
        if not len(x) or room[first] >= 1:
            self._x[self._free] = x + move
            return True
        self._x[self._free] = np.clip(x + room[first] * move, 0, self._upper)
        self._x[self._free[first]] = bound[first]
        self._factor.remove(first)
        del self._free[first]
        return False

    def _release(self, gradient: np.ndarray) -> bool:
        """Set the held column free that lowers the objective the most;
        whether there is one."""
        # A column at the upper bound can only go down, one at 0 only up.
        # Those whose gain is the largest may depend on the free ones, which
        # the factor tells.
        inwards = np.where(self._x > 0, -gradient, gradient)
        inwards[self._free] = 0
        gains = one_step_gains(torch.from_numpy(inwards),
                               torch.from_numpy(self._norms),
                               self._upper).numpy()
        for index in np.argsort(-gains, kind='stable'):
            if gains[index] <= self._least_gain:
                return False
            column = self._inner(self._vectors[index])
            if self._factor.append(column, self._norms[index]):
                self._free.append(int(index))
                return True
        return False

    def _inner(self, vector: np.ndarray) -> np.ndarray:
        """Inner products with the free columns."""
        return self._vectors[self._free] @ (self._gram @ vector)


def one_step_gains(products: Tensor, square_norms: Tensor,
                   upper: float = 1.) -> Tensor:
    """How much ``||r||²`` falls if one column is subtracted from r with the
    best factor between 0 and ``upper``.

    Args:
        products (Tensor): float64 [N], ``d_j·r``.
        square_norms (Tensor): float64 [N], ``||d_j||²``.
        upper (float): The largest factor.

    Returns:
        Tensor: float64 [N], >= 0; 0 for a column of zeros.
    """
    factor = (products / square_norms).masked_fill_(square_norms <= 0, 0)
    factor.clamp_(0, upper)
    return factor * (2 * products - factor * square_norms)


class _Cholesky:
    """The Cholesky factor of a Gram matrix that grows and shrinks."""

    def __init__(self) -> None:
        self._lower = np.empty((0, 0))

    def append(self, column: np.ndarray, norm: float) -> bool:
        """Add a row and a column, unless the matrix became singular."""
        size = len(self._lower)
        row = _solve_triangular(self._lower, column)
        outside = norm - row @ row  # squared, of the span of the others
        if not outside > _DEPENDENT * norm:
            return False
        lower = np.zeros((size + 1, size + 1))
        lower[:size, :size] = self._lower
        lower[size, :size] = row
        lower[size, size] = np.sqrt(outside)
        self._lower = lower
        return True

    def remove(self, index: int) -> None:
        """Remove a row and a column."""
        # Without the row, what is below it has one entry too many: a
        # triangle again, with the same products, by an orthogonal matrix.
        lower = np.delete(self._lower, index, 0)
        tail = lower[index:, index:]
        lower = lower[:, :-1]
        if len(tail):
            lower[index:, index:] = np.linalg.qr(tail.T, 'r').T
        self._lower = lower

    def solve(self, right: np.ndarray) -> np.ndarray:
        """The solution for a right-hand side."""
        half = _solve_triangular(self._lower, right)
        return _solve_triangular(self._lower, half, True)


def _solve_triangular(lower: np.ndarray, right: np.ndarray,
                      transposed: bool = False) -> np.ndarray:
    # numpy has no solver for triangles
    matrix = torch.from_numpy(lower)
    out = torch.linalg.solve_triangular(
        matrix.T if transposed else matrix,
        torch.from_numpy(right)[:, None],
        upper=transposed)
    return out[:, 0].numpy()
