"""The solver of those who name none."""
import warnings
from typing import Optional, Tuple

from torch import Tensor

from mmal.registry import TASK_UTILS
from ..operators.base import BatchedOperator
from ..step_metric import StepMetric
from ..vectors import ParamVector
from .base import BaseSolver, DampedSystem, Progress, SolverError
from .block_cholesky import BlockCholesky
from .conjugate_gradient import ConjugateGradient


@TASK_UTILS.register_module()
class DefaultSolver(BaseSolver):
    """:class:`BlockCholesky` where its blocks can be formed and factorised,
    :class:`ConjugateGradient` elsewhere.

    The first is exact, and the second runs until the residual is below a
    tolerance. A solution that is stopped early depends on rounding: conjugate
    gradients multiply the last bits of a product with each step until they
    converge, and sums over other batches of images differ in those bits.

    Args:
        damping (float): See :class:`BaseSolver`.
        max_gib (float): See :class:`BlockCholesky`.
        max_iters (int): See :class:`ConjugateGradient`.
        tol (float): See :class:`ConjugateGradient`.

    Raises:
        SolverError: Neither can solve the system.
    """

    def __init__(self,
                 damping: float = 0.1,
                 max_gib: float = 4.0,
                 max_iters: int = 500,
                 tol: float = 1e-4) -> None:
        super().__init__(damping)
        self._blocks = BlockCholesky(damping, max_gib)
        self._gradients = ConjugateGradient(damping, max_iters, tol)

    def check(self, operator: BatchedOperator,
              like: ParamVector) -> Optional[str]:
        """See :meth:`BaseSolver.check`."""
        try:
            return self._blocks.check(operator, like)
        except SolverError as e:
            return self._instead(e)

    def check_step_metric(self, operator: BatchedOperator,
                          like: ParamVector) -> None:
        """See :meth:`BaseSolver.check_step_metric`."""
        self._blocks.check_step_metric(operator, like)

    def step_metric(self, operator: BatchedOperator,
                    like: ParamVector) -> Optional[StepMetric]:
        """See :meth:`BaseSolver.step_metric`; there is no other way than by
        blocks."""
        return self._blocks.step_metric(operator, like)

    def _solve(self, system: DampedSystem, v: Tensor,
               progress: Progress) -> Tuple[Tensor, dict]:
        try:
            x, info = self._blocks._solve(system, v, progress)
            return x, {'method': 'BlockCholesky', **info}
        except SolverError as e:
            warnings.warn(self._instead(e), stacklevel=2)
        x, info = self._gradients._solve(system, v, progress)
        return x, {'method': 'ConjugateGradient', **info}

    def _instead(self, error: SolverError) -> str:
        limit = self._gradients.max_iters
        return (f'{error} The default solver does so now, with up to {limit} '
                'passes over the images of the Hessian. Name a solver to '
                'choose another one, or other limits.')
