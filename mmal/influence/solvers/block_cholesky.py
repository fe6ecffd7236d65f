"""The exact solution where groups of output channels do not interact."""
from typing import Optional, Tuple

import torch
from torch import Tensor

from mmal.registry import TASK_UTILS
from ..operators.base import BatchedOperator
from ..vectors import ParamVector, flatten, unflatten
from .base import BaseSolver, DampedSystem, Progress, SolverError


@TASK_UTILS.register_module()
class BlockCholesky(BaseSolver):
    """Cholesky factors of the blocks of a Gauss-Newton matrix.

    The curvature of a sigmoid head has one number for each class, so its
    Gauss-Newton matrix has a block for each class and no others; that of a
    box head has one block for its four channels. Each block is formed over
    all images once and factorised, which gives the converged solution. With k
    channels in a block, K inputs of a channel and P positions an image: time
    N P k K^2 per channel, memory k K^2 per channel, k^2 K^3 to factorise.
    Conjugate gradients cost as much as forming in about K / 4 steps.

    Args:
        damping (float): See :class:`BaseSolver`; above 0 where there are
            fewer positions than parameters.
        max_gib (float): Memory for all blocks; those of one layer are there
            twice while they are factorised.
        refine (int): Steps of iterative refinement at most, each a product;
            they take out the rounding of float32.
        tol (float): Relative residual below which none are made.

    Raises:
        SolverError: The blocks would be too large or are not positive
            definite, or the operator has none.
    """

    def __init__(self,
                 damping: float = 0.1,
                 max_gib: float = 4.0,
                 refine: int = 3,
                 tol: float = 1e-5) -> None:
        super().__init__(damping)
        self.max_gib = max_gib
        self.refine = refine
        self.tol = tol

    def check(self, operator: BatchedOperator,
              like: ParamVector) -> Optional[str]:
        """See :meth:`BaseSolver.check`."""
        self._blocks_of(operator, 'check_blocks', like)
        return None

    def _solve(self, system: DampedSystem, v: Tensor,
               progress: Progress) -> Tuple[Tensor, dict]:
        blocks = self._blocks_of(system.operator, 'channel_blocks',
                                 system.like, progress)
        # In place of the matrices, one layer after another: of one layer
        # alone both are in memory.
        for block in blocks:
            block.matrix = self._factor(block.matrix)

        # Iterative refinement: the factors in float32 solve nearly the right
        # system. What they leave over is measured with the operator itself,
        # and solved for in turn.
        x, residual, steps = torch.zeros_like(v), v, 0
        goal = self.tol * v.norm()
        while steps <= self.refine and residual.norm() > goal:
            right_side = unflatten(residual, system.like)
            # Parameters that no loss reaches have the damping alone.
            solved = [t / self.damping if self.damping else t
                      for t in right_side]
            for block in blocks:
                rows = block.gather(right_side).unsqueeze(-1)
                rows = torch.cholesky_solve(rows, block.matrix)
                block.scatter(rows.squeeze(-1), solved)
            x = x + flatten(solved)
            residual = v - system.product(x)
            steps += 1
        return x, {
            'iterations': steps,
            'converged': bool(residual.norm() <= goal)
        }

    def _blocks_of(self, operator: BatchedOperator, method: str,
                   like: ParamVector, *args):
        """What a method of an operator that has blocks returns."""
        try:
            if not hasattr(operator, method):
                raise ValueError("this operator has no blocks (hessian="
                                 "'exact' has none; 'gauss-newton' has).")
            return getattr(operator, method)(
                like, int(self.max_gib * 2**30), *args)
        except ValueError as e:
            raise SolverError(
                f'BlockCholesky: {e} Use mmal.ConjugateGradient.') from e

    def _factor(self, matrix: Tensor) -> Tensor:
        matrix.diagonal(dim1=-2, dim2=-1).add_(self.damping)
        # NaN makes the factorisation fail as well, and would be told as if
        # damping could help.
        if not bool(torch.isfinite(matrix).all()):
            raise SolverError('the curvature of the loss is not finite. Look '
                              'for NaN or infinite losses or weights.')
        factor, info = torch.linalg.cholesky_ex(matrix)
        if bool(info.any()):
            raise SolverError(
                'BlockCholesky: the damped blocks are not positive definite; '
                'there are fewer positions than parameters, or rounding '
                f'shows. Raise solver.damping, now {self.damping:g}, to '
                f'{max(10 * self.damping, 1e-3):.2g}.')
        return factor
