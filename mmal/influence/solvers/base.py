"""What all solvers of ``(H + damping * I) x = v`` share."""
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Callable, Optional, Tuple

import torch
from torch import Tensor

from ..operators.base import BatchedOperator
from ..step_metric import StepMetric
from ..vectors import ParamVector, check_shapes, flatten, unflatten

Progress = Callable[[int, int], None]


class SolverError(RuntimeError):
    """A system has no usable solution; the message says what to change."""


@dataclass
class Solution:
    """What a solver found.

    Attributes:
        x (ParamVector): The solution.
        residual (float | None): ``|(H + damping I) x - v| / |v|``, None where
            no system is solved.
        iterations (int): Steps in all.
        seconds (float): Wall time.
        converged (bool): Whether the tolerance was met.
        scale (float | None): LiSSA's scale.
        method (str): The class of the solver whose steps these are.
    """
    x: ParamVector
    residual: Optional[float] = None
    iterations: int = 0
    seconds: float = 0.
    converged: bool = True
    scale: Optional[float] = None
    method: str = ''

    def summary(self) -> str:
        """What a log says of it.

        Example:
            >>> Solution([], 2e-5, iterations=7, seconds=1.25).summary()
            '7 steps, 1.2 s, residual 2e-05'
        """
        text = f'{self.iterations} steps, {self.seconds:.1f} s'
        if self.residual is not None:
            text += f', residual {self.residual:.2g}'
        if self.scale is not None:
            text += f', scale {self.scale:.3g}'
        return text if self.converged else text + ', above the tolerance'


class DampedSystem:
    """``H + damping * I`` on flat vectors, and its single steps.

    Args:
        operator (BatchedOperator): H.
        like (ParamVector): Gives shapes, dtype and device.
        damping (float): Added to the diagonal.
    """

    def __init__(self, operator: BatchedOperator, like: ParamVector,
                 damping: float) -> None:
        self.operator = operator
        self.like = like
        self.damping = damping

    def product(self, x: Tensor) -> Tensor:
        """``(H + damping I) x``, a pass over all images."""
        product = self.operator.product(unflatten(x, self.like))
        return flatten(product) + self.damping * x

    def diagonal(self) -> Optional[Tensor]:
        """Of ``H + damping I``, None if the operator does not tell."""
        diagonal = self.operator.diagonal()
        return None if diagonal is None else flatten(diagonal) + self.damping

    def estimate(self, indices, x: Tensor) -> Tensor:
        """An unbiased estimate of :meth:`product` from a few batches.

        Drawn uniformly, each batch weighs by its number of images.
        """
        vector = unflatten(x, self.like)
        total = sum(
            flatten(self.operator.batch_product(int(i), vector))
            for i in indices)
        # Divided by the images that so many batches have on average, not by
        # those they have: else images of small batches would count for more.
        share = len(indices) / self.operator.num_batches
        images = self.operator.num_images * share
        return total / images + self.damping * x

    def residual(self, x: Tensor, v: Tensor) -> float:
        """``|(H + damping I) x - v| / |v|``."""
        return float((self.product(x) - v).norm() / v.norm())


class BaseSolver(ABC):
    """Solves ``(H + damping * I) x = v`` for a :class:`BatchedOperator` H.

    A subclass implements :meth:`_solve` on flat vectors.

    Args:
        damping (float): Added to the diagonal of H, >= 0.
    """

    def __init__(self, damping: float = 0.1) -> None:
        if not damping >= 0:
            raise ValueError(f'solver.damping is {damping}, must be >= 0.')
        self.damping = damping

    def solve(self,
              operator: BatchedOperator,
              v: ParamVector,
              progress: Optional[Progress] = None) -> Solution:
        """Solve the system.

        Args:
            operator (BatchedOperator): H.
            v (ParamVector): Right-hand side, finite.
            progress (Callable, optional): Called with (steps done, steps at
                most).

        Returns:
            Solution: Always finite. The same whatever the global random
            state.

        Raises:
            ValueError: ``v`` is not finite.
            SolverError: The system is unfit for this solver.
        """
        start = time.perf_counter()
        flat = check_right_side(v)
        if not bool(flat.any()):
            return Solution([torch.zeros_like(t) for t in v], 0.)
        system = DampedSystem(operator, v, self.damping)
        with torch.no_grad():
            x, info = self._solve(system, flat,
                                  progress or (lambda done, total: None))
            residual = info.pop('residual', None)
            if residual is None:
                # Computed anew: what a solver carries along drifts away from
                # it by rounding, the more the worse the condition.
                residual = system.residual(x, flat)
        if not torch.isfinite(x).all() or not residual < float('inf'):
            raise SolverError(
                f'{type(self).__name__} gave non-finite values: the curvature '
                'of the loss itself is not finite. Look for NaN or infinite '
                'losses or weights.')
        info = {'method': type(self).__name__, **info}
        solution = Solution(unflatten(x, v), residual, **info)
        solution.seconds = time.perf_counter() - start
        return solution

    def check(self, operator: BatchedOperator,
              like: ParamVector) -> Optional[str]:
        """Say before a long training what will be in the way after it.

        Args:
            operator (BatchedOperator): H of a few images.
            like (ParamVector): Gives shapes and dtype.

        Returns:
            str | None: What the user should know.

        Raises:
            SolverError: The system will be unfit for this solver.
        """
        return None

    def check_step_metric(self, operator: BatchedOperator,
                          like: ParamVector) -> None:
        """Say before a long training whether :meth:`step_metric` will work.

        Args:
            operator (BatchedOperator): H of a few images.
            like (ParamVector): Gives shapes and dtype.

        Raises:
            SolverError: It will not.
        """
        raise SolverError(
            f'{type(self).__name__} has no square root of the Hessian, in '
            'which the steps of training are measured: use '
            'mmal.BlockCholesky, or mmal.Identity for plain gradients.')

    def step_metric(self, operator: BatchedOperator,
                    like: ParamVector) -> Optional[StepMetric]:
        """What makes the inner products of gradients those of the steps of
        training that they lead to.

        Args:
            operator (BatchedOperator): H.
            like (ParamVector): Gives shapes and dtype.

        Returns:
            StepMetric | None: None where H is the identity.

        Raises:
            SolverError: This solver, or this system, has none.
        """
        self.check_step_metric(operator, like)

    @abstractmethod
    def _solve(self, system: DampedSystem, v: Tensor,
               progress: Progress) -> Tuple[Tensor, dict]:
        """Return x and the fields of :class:`Solution` that are known; the
        residual is measured where it is not among them, at the cost of a
        product."""


def check_right_side(v: ParamVector) -> Tensor:
    """``v`` flattened.

    Raises:
        ValueError: It has NaN or infinite entries.
    """
    check_shapes(v, v)
    flat = flatten([t.detach() for t in v])
    if not bool(torch.isfinite(flat).all()):
        raise ValueError(
            'the gradient of the reference loss has NaN or infinite entries; '
            'the model diverged in training, or a reference image is broken.')
    return flat


def negative_curvature_help(value: float, damping: float) -> str:
    """What to do about curvature ``value`` <= 0 of the damped operator."""
    # H has the curvature value - damping along this direction; twice the
    # damping that lifts it to zero leaves something over for worse ones.
    least = 2 * (damping - value) or 1e-3
    return (f'the damped curvature is not positive (found {value:.3g}), so '
            f'this solver does not apply. Use Gauss-Newton curvature '
            f"(hessian='gauss-newton'), or mmal.MINRES, which takes curvature "
            f'of both signs, or raise solver.damping, now {damping:g}, to '
            f'{least:.2g} or more.')


class IterativeSolver(BaseSolver):
    """A solver of steps, each a pass over all images.

    Args:
        damping (float): See :class:`BaseSolver`.
        max_iters (int): Steps at most, >= 1.
        tol (float): Relative residual at which to stop.

    Raises:
        ValueError: ``max_iters`` is below 1.
    """

    def __init__(self,
                 damping: float = 0.1,
                 max_iters: int = 100,
                 tol: float = 1e-4) -> None:
        super().__init__(damping)
        if max_iters < 1:
            raise ValueError(
                f'solver.max_iters is {max_iters}, must be >= 1.')
        self.max_iters = max_iters
        self.tol = tol
