"""Conjugate gradients on the whole set of images."""
from typing import Tuple

import torch
from torch import Tensor

from mmal.registry import TASK_UTILS
from .base import (
    DampedSystem,
    IterativeSolver,
    Progress,
    SolverError,
    negative_curvature_help,
)


@TASK_UTILS.register_module()
class ConjugateGradient(IterativeSolver):
    """Conjugate gradients (Hestenes and Stiefel, 1952), one pass a step.

    Preconditioned with the diagonal where the operator has one
    (Gauss-Newton), which costs one pass more: the curvature of box layers may
    be a hundred times that of others.

    For positive definite operators: Gauss-Newton, or a strongly damped
    Hessian.

    Args:
        damping (float): See :class:`BaseSolver`.
        max_iters (int): Steps at most. Stopped before it has converged the
            solution depends on rounding: a product that differs in its last
            bit moves 20 steps of a detector's system by percents.
        tol (float): Relative residual at which to stop.

    Raises:
        SolverError: A direction of negative curvature was met.
    """

    def __init__(self,
                 damping: float = 0.1,
                 max_iters: int = 500,
                 tol: float = 1e-4) -> None:
        super().__init__(damping, max_iters, tol)

    def _solve(self, system: DampedSystem, v: Tensor,
               progress: Progress) -> Tuple[Tensor, dict]:
        progress(0, self.max_iters)
        # The preconditioner is the diagonal, 1 where it is 0 or not known.
        # The steps needed grow with the spread of eigenvalues, and most of it
        # is between layers, which the diagonal evens out.
        scale = torch.ones_like(v)
        diagonal = system.diagonal()
        if diagonal is not None:
            scale = diagonal.where(diagonal > 0, scale)
        x, r, goal = torch.zeros_like(v), v.clone(), self.tol * v.norm()
        z = r / scale
        p, squared = z, r.dot(z)
        for step in range(1, self.max_iters + 1):
            moved = system.product(p)
            curvature = p.dot(moved)
            # Along negative curvature there is no minimum to step to.
            if not curvature > 0:
                raise SolverError(
                    f'conjugate gradients, step {step}: ' +
                    negative_curvature_help(
                        float(curvature / p.dot(p)), self.damping))
            alpha = squared / curvature
            x += alpha * p
            r -= alpha * moved
            progress(step, self.max_iters)
            if r.norm() <= goal:
                break
            z = r / scale
            previous, squared = squared, r.dot(z)
            p = z + (squared / previous) * p
        return x, {'iterations': step, 'converged': bool(r.norm() <= goal)}
