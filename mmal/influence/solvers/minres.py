"""Minimum residuals, for operators with curvature of both signs."""
import math
from typing import Tuple

import torch
from torch import Tensor

from mmal.registry import TASK_UTILS
from .base import DampedSystem, IterativeSolver, Progress, SolverError


@TASK_UTILS.register_module()
class MINRES(IterativeSolver):
    r"""MINRES (Paige and Saunders, 1975), one pass over the images a step.

    Step k minimises :math:`|v - A x|` over the first k powers of A applied to
    v, for any symmetric A: the exact Hessian of a detector, on which conjugate
    gradients and LiSSA stop or diverge. Lanczos vectors and two rotations, no
    more than six vectors.

    Where A has negative eigenvalues, x is a stationary point of the quadratic
    model of the loss, not its minimum.

    Args:
        damping (float): See :class:`BaseSolver`. Not needed against negative
            curvature; it moves eigenvalues, and may move one to zero.
        max_iters (int): Steps at most.
        tol (float): Relative residual at which to stop.

    Raises:
        SolverError: A is singular and v is not in its range, or A is not
            finite.
    """

    def _solve(self, system: DampedSystem, v: Tensor,
               progress: Progress) -> Tuple[Tensor, dict]:
        state = _State(v)
        goal = self.tol * float(v.norm())
        for step in range(1, self.max_iters + 1):
            if not state.step(system):
                if not state.finite:
                    raise SolverError(
                        'the curvature of the loss is not finite. Look for '
                        'NaN or infinite losses or weights.')
                raise SolverError(
                    f'MINRES, step {step}: the damped operator is singular '
                    'and the reference gradient is not in its range. Change '
                    f'solver.damping, now {self.damping:g}, a little, or use '
                    "Gauss-Newton curvature (hessian='gauss-newton').")
            progress(step, self.max_iters)
            if abs(state.residual) <= goal:
                break
        return state.x, {
            'iterations': step,
            'converged': abs(state.residual) <= goal
        }


class _State:
    """Lanczos vectors, the two last rotations and directions."""

    def __init__(self, v: Tensor) -> None:
        zeros = torch.zeros_like(v)
        self.x = zeros.clone()
        self.residual = float(v.norm())
        self.finite = True
        self._beta, self._scale = 0., 0.
        self._q, self._q_old = v / v.norm(), zeros
        self._w, self._w_old = zeros, zeros
        self._rotation, self._rotation_old = (1., 0.), (1., 0.)

    def step(self, system: DampedSystem) -> bool:
        """One step; False if no x reduces the residual any further."""
        # Lanczos: in the basis of the q, A is tridiagonal, with alpha on the
        # diagonal and beta beside it. For a symmetric A a new q need be made
        # orthogonal to the last two alone, so no others are kept.
        q = self._q
        moved = system.product(q) - self._beta * self._q_old
        alpha = float(q.dot(moved))
        moved = moved - alpha * q
        beta = float(moved.norm())
        self.finite = math.isfinite(alpha) and math.isfinite(beta)
        if not self.finite:
            return False

        # The new column, after the last two rotations: of a tridiagonal
        # matrix none but them reaches into it.
        (cos_old, sin_old), (cos, sin) = self._rotation_old, self._rotation
        above = cos_old * self._beta
        first = sin_old * self._beta
        second = cos * above + sin * alpha
        corner = cos * alpha - sin * above

        self._scale = max(self._scale, abs(alpha) + self._beta + beta)
        # |A r| / |r| of the residual r so far (Choi et al., 2011, eq. 3.10)
        slope = math.hypot(corner, cos * beta)
        if slope <= torch.finfo(q.dtype).eps**0.75 * self._scale:
            return False

        # The next rotation takes out the beta below the corner. What it makes
        # of the right-hand side is the residual, known without a product.
        length = math.hypot(corner, beta)
        cos, sin = corner / length, beta / length
        w = (q - second * self._w - first * self._w_old) / length
        self.x = self.x + cos * self.residual * w
        self.residual *= -sin
        self._w_old, self._w = self._w, w
        self._rotation_old, self._rotation = self._rotation, (cos, sin)
        self._q_old, self._beta = q, beta
        # beta is 0 where the powers of A span no more: x is exact then.
        self._q = moved / beta if beta else moved
        return True
