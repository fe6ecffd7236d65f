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

    For positive definite operators: Gauss-Newton, or a strongly damped
    Hessian.

    Args:
        damping (float): See :class:`BaseSolver`.
        max_iters (int): Steps at most.
        tol (float): Relative residual at which to stop.

    Raises:
        SolverError: A direction of negative curvature was met.
    """

    def __init__(self,
                 damping: float = 0.1,
                 max_iters: int = 40,
                 tol: float = 1e-4) -> None:
        super().__init__(damping, max_iters, tol)

    def _solve(self, system: DampedSystem, v: Tensor,
               progress: Progress) -> Tuple[Tensor, dict]:
        x, r, p = torch.zeros_like(v), v.clone(), v.clone()
        squared, goal = r.dot(r), self.tol * v.norm()
        for step in range(1, self.max_iters + 1):
            moved = system.product(p)
            curvature = p.dot(moved)
            if not curvature > 0:
                raise SolverError(
                    f'conjugate gradients, step {step}: ' +
                    negative_curvature_help(
                        float(curvature / p.dot(p)), self.damping))
            alpha = squared / curvature
            x += alpha * p
            r -= alpha * moved
            previous, squared = squared, r.dot(r)
            progress(step, self.max_iters)
            if squared.sqrt() <= goal:
                break
            p = r + (squared / previous) * p
        done = bool(squared.sqrt() <= goal)
        return x, {'iterations': step, 'converged': done}
