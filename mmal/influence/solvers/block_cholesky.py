"""The exact solution where groups of output channels do not interact."""
from typing import List, Tuple

import torch
from torch import Tensor

from mmal.registry import TASK_UTILS
from ..operators.blocks import ChannelBlocks
from ..vectors import flatten, unflatten
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

    def _solve(self, system: DampedSystem, v: Tensor,
               progress: Progress) -> Tuple[Tensor, dict]:
        blocks = self._factorised(system, progress)
        x, rest, steps = torch.zeros_like(v), v, 0
        goal = self.tol * v.norm()
        while steps <= self.refine and rest.norm() > goal:
            x = x + self._apply(blocks, rest, system)
            rest = v - system.product(x)
            steps += 1
        return x, {'iterations': steps, 'converged': bool(rest.norm() <= goal)}

    def _factorised(self, system, progress) -> List[ChannelBlocks]:
        try:
            found = self._blocks(system, progress)
        except ValueError as e:
            raise SolverError(
                f'BlockCholesky: {e} Use mmal.ConjugateGradient.') from e
        for block in found:
            block.matrix = self._factor(block.matrix)
        return found

    def _blocks(self, system, progress) -> List[ChannelBlocks]:
        blocks = getattr(system.operator, 'channel_blocks', None)
        if blocks is None:
            raise ValueError("this operator has no blocks (hessian='exact' "
                             "has none; 'gauss-newton' has).")
        return blocks(system.like, int(self.max_gib * 2**30), progress)

    def _factor(self, matrix: Tensor) -> Tensor:
        matrix.diagonal(dim1=-2, dim2=-1).add_(self.damping)
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

    def _apply(self, blocks: List[ChannelBlocks], rest: Tensor,
               system: DampedSystem) -> Tensor:
        vector = unflatten(rest, system.like)
        # Parameters that no loss reaches have the damping alone.
        found = [t / self.damping if self.damping else t for t in vector]
        for block in blocks:
            rows = block.gather(vector).unsqueeze(-1)
            solved = torch.cholesky_solve(rows, block.matrix)
            block.scatter(solved.squeeze(-1), found)
        return flatten(found)
