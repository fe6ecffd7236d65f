"""The exact solution where groups of output channels do not interact."""
import math
from typing import Optional, Tuple

import torch
from torch import Tensor

from mmal.registry import TASK_UTILS
from ..operators.base import BatchedOperator
from ..operators.blocks import CHUNK
from ..step_metric import StepMetric
from ..vectors import ParamVector, flatten, unflatten
from .base import BaseSolver, DampedSystem, Progress, SolverError


@TASK_UTILS.register_module()
class BlockCholesky(BaseSolver):
    """Cholesky factors of the blocks of a Gauss-Newton matrix.

    The curvature of a sigmoid head has one number for each class, so its
    Gauss-Newton matrix has a block for each class and no others; that of a
    box head has one block for its four channels. Each block is formed over
    all images once, in one pass that processes share, and factorised in
    float64, which gives the converged solution. With k channels in a block,
    K inputs of a channel and P positions an image: time N P k K^2 per
    channel, memory k K^2 per channel, k^2 K^3 to factorise. Conjugate
    gradients cost as much as forming in about K / 4 steps.

    Args:
        damping (float): See :class:`BaseSolver`; above 0 where there are
            fewer positions than parameters.
        max_gib (float): Memory for all blocks.

    Raises:
        SolverError: The blocks would be too large or are not positive
            definite, or the operator has none.
    """

    def __init__(self, damping: float = 0.1, max_gib: float = 4.0) -> None:
        super().__init__(damping)
        self.max_gib = max_gib

    def check(self, operator: BatchedOperator,
              like: ParamVector) -> Optional[str]:
        """See :meth:`BaseSolver.check`."""
        self._blocks_of(operator, 'check_blocks', like)
        return None

    def check_step_metric(self, operator: BatchedOperator,
                          like: ParamVector) -> None:
        """See :meth:`BaseSolver.check_step_metric`."""
        self.check(operator, like)

    def step_metric(self, operator: BatchedOperator,
                    like: ParamVector) -> StepMetric:
        """See :meth:`BaseSolver.step_metric`; as much memory as the blocks,
        and about 2 k^2 K^3 a channel.

        Each block of H has a thousandth of the damping and a millionth of its
        own largest entry more on its diagonal: its root does not exist where
        rounding has made an eigenvalue negative.
        """
        roots = {}
        for block in self._blocks_of(operator, 'channel_blocks', like,
                                     lambda done, total: None):
            root = torch.empty_like(block.matrix)
            groups = max(1, CHUNK // root[0].numel())
            for start in range(0, len(root), groups):
                chunk = slice(start, start + groups)
                matrix, factor = self._factorise(block.matrix[chunk])
                diagonal = matrix.diagonal(dim1=-2, dim2=-1)
                largest = diagonal.amax(-1, keepdim=True) - self.damping
                diagonal += 1e-6 * largest - (1 - 1e-3) * self.damping
                lower, info = torch.linalg.cholesky_ex(matrix)
                if bool(info.any()):
                    raise SolverError(
                        'BlockCholesky: the blocks have negative eigenvalues '
                        f'beyond rounding; raise solver.damping, now '
                        f'{self.damping:g}.')
                # (H + damping)^-1 times the root, transposed
                root[chunk] = torch.cholesky_solve(lower, factor).mT.to(
                    root.dtype)
            roots[block.index['weight']] = root
        return StepMetric(roots)

    def _solve(self, system: DampedSystem, v: Tensor,
               progress: Progress) -> Tuple[Tensor, dict]:
        blocks = self._blocks_of(system.operator, 'channel_blocks',
                                 system.like, progress)
        right_side = unflatten(v, system.like)
        # Parameters that no loss reaches have the damping alone.
        solved = [t / self.damping if self.damping else t for t in right_side]
        left = 0.
        for block in blocks:
            rows = block.gather(right_side)
            x = torch.empty_like(rows)
            groups = max(1, CHUNK // block.matrix[0].numel())
            for start in range(0, len(rows), groups):
                part = slice(start, start + groups)
                x[part], residual = self._solve_groups(
                    block.matrix[part], rows[part])
                left += residual
            block.scatter(x, solved)
        return flatten(solved), {
            'iterations': 1,
            'residual': math.sqrt(left) / float(v.norm()),
        }

    def _solve_groups(self, matrix: Tensor,
                      rows: Tensor) -> Tuple[Tensor, float]:
        """The solutions [G, K] of some groups, and the square of what they
        leave over."""
        matrix, factor = self._factorise(matrix)
        v = rows.double().unsqueeze(-1)
        x = torch.cholesky_solve(v, factor).to(rows.dtype)
        residual = v - matrix @ x.double()
        return x.squeeze(-1), float(residual.square().sum())

    def _factorise(self, matrix: Tensor) -> Tuple[Tensor, Tensor]:
        """Damped blocks [G, K, K] in float64, and their Cholesky factors."""
        # in float64: factors in float32 would need refinement
        matrix = matrix.to(torch.float64, copy=True)
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
        return matrix, factor

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
