"""LiSSA, the stochastic Neumann series of Agarwal et al. (2017)."""
import math
from typing import Iterator, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmal.registry import TASK_UTILS
from .base import (
    BaseSolver,
    DampedSystem,
    Progress,
    SolverError,
    negative_curvature_help,
)


@TASK_UTILS.register_module()
class LiSSA(BaseSolver):
    r"""LiSSA (ISAL, appendix B, algorithm 3) with damping and a scale.

    With :math:`A_t` an unbiased estimate of :math:`H + \lambda I` from a batch
    and :math:`\sigma` the scale,

    .. math:: x_0 = v / \sigma, \quad x_{t+1} = x_t + (v - A_t x_t) / \sigma

    which is algorithm 3 for the scaled system :math:`(A / \sigma) x = v /
    \sigma`. It converges in the mean if :math:`\sigma` is at least the
    largest eigenvalue of every :math:`A_t`; a direction of eigenvalue
    :math:`\mu` of A takes :math:`\sigma / \mu` steps.

    Args:
        damping (float): :math:`\lambda`, see :class:`BaseSolver`.
        scale (float, optional): One :math:`\sigma` for all layers. Found by
            power iteration on every batch (about four passes over the images)
            when not given.
        depth (int, optional): Steps of a run. When not given, a run goes on
            until the residual averaged over a pass, which the steps yield for
            free, is below ``tol``, or ``max_passes`` passes and 250 steps are
            done.
        repeats (int): Runs, each with an order of batches of its own, whose
            results are averaged.
        batch_size (int, optional): Images a step, rounded up to whole batches
            of the operator. Defaults to one batch.
        tol (float): Relative residual, used if ``depth`` is None.
        max_passes (int): Passes at most, or as many as 250 steps take if
            that is more; used if ``depth`` is None.
        seed (int): Seeds the orders.

    Raises:
        SolverError: A run diverged. The message names the scale to try.
    """
    margin = 1.2
    min_steps = 250

    def __init__(self,
                 damping: float = 0.01,
                 scale: Optional[float] = None,
                 depth: Optional[int] = None,
                 repeats: int = 4,
                 batch_size: Optional[int] = None,
                 tol: float = 1e-3,
                 max_passes: int = 10,
                 seed: int = 0) -> None:
        super().__init__(damping)
        given = {
            'scale': scale,
            'depth': depth,
            'repeats': repeats,
            'batch_size': batch_size,
            'max_passes': max_passes
        }
        for key, value in given.items():
            if value is not None and not value > 0:
                raise ValueError(f'solver.{key} is {value}, must be > 0.')
        self.scale = scale
        self.depth = depth
        self.repeats = repeats
        self.batch_size = batch_size
        self.tol = tol
        self.max_passes = max_passes
        self.seed = seed

    def _solve(self, system: DampedSystem, v: Tensor,
               progress: Progress) -> Tuple[Tensor, dict]:
        # The power iteration gives a lower bound, hence the margin.
        scale = self.scale or self.margin * largest_eigenvalue(
            system, v, self.seed)
        if not math.isfinite(scale):
            raise SolverError('the curvature of the loss is not finite. Look '
                              'for NaN or infinite losses or weights.')
        if scale == 0:
            raise SolverError('the curvature is zero and so is '
                              'solver.damping; set a damping above 0.')
        steps = self._max_steps(system)
        total, iterations, converged = torch.zeros_like(v), 0, True
        for repeat in range(self.repeats):
            x, done, ok = self._run(system, v, scale, repeat, progress)
            total, iterations = total + x, iterations + done
            converged = converged and ok
            progress((repeat + 1) * steps, self.repeats * steps)
        x = total / self.repeats
        # A run too short to grow beyond the bound may have diverged all the
        # same: its residual is then many times that of x = 0, which is 1.
        if not system.residual(x, v) <= 10:
            self._fail(system, x, v, scale)
        return x, {
            'iterations': iterations,
            'converged': converged,
            'scale': scale
        }

    def _run(self, system: DampedSystem, v: Tensor, scale: float, repeat: int,
             progress: Progress) -> Tuple[Tensor, int, bool]:
        """One run: x, its steps, and whether the tolerance was met."""
        steps = self._max_steps(system)
        per_pass = self._steps_per_pass(system)
        # The solution is at most |v| / damping long, so a run ten times as
        # long diverges. Without damping, eigenvalues below 1e-8 of the scale
        # count as none.
        bound = 10 * v.norm() / (self.damping or scale * 1e-8)
        x = mark = v / scale
        for step, chunk in enumerate(self._order(system, repeat), 1):
            x = x + (v - system.estimate(chunk, x)) / scale
            if not x.norm() <= bound:
                self._fail(system, mark, v, scale)
            progress(repeat * steps + step, self.repeats * steps)
            if step % per_pass == 0:
                # A step moves x by a noisy residual over the scale. Over a
                # pass each batch came once, so the noise has mostly gone.
                residual = (x - mark).norm() * scale / per_pass
                done = bool(residual <= self.tol * v.norm())
                if done and self.depth is None:
                    return x, step, True
                mark = x
            if step == steps:
                return x, step, self.depth is not None

    def _order(self, system: DampedSystem, repeat: int) -> Iterator[Tensor]:
        """Endless chunks of batch indices, shuffled anew each pass."""
        generator = torch.Generator()
        # Seeds far apart, so that no runs of two of them share an order.
        generator.manual_seed(self.seed * 1_000_003 + repeat)
        size = self._batches_per_step(system)
        while True:
            yield from torch.randperm(
                system.operator.num_batches, generator=generator).split(size)

    def _batches_per_step(self, system: DampedSystem) -> int:
        batches = system.operator.num_batches
        if self.batch_size is None:
            return 1
        mean = system.operator.num_images / batches
        return min(math.ceil(self.batch_size / mean), batches)

    def _steps_per_pass(self, system: DampedSystem) -> int:
        batches = system.operator.num_batches
        return math.ceil(batches / self._batches_per_step(system))

    def _max_steps(self, system: DampedSystem) -> int:
        if self.depth is not None:
            return self.depth
        steps = self.max_passes * self._steps_per_pass(system)
        return max(steps, self.min_steps)

    def _fail(self, system: DampedSystem, x: Tensor, v: Tensor,
              scale: float) -> None:
        # The last finite iterate points along what grew.
        x = x if bool(torch.isfinite(x).all()) and bool(x.any()) else v
        curvature = float(x.dot(system.product(x)) / x.dot(x))
        if curvature <= 0:
            raise SolverError('LiSSA diverged: ' + negative_curvature_help(
                curvature, self.damping))
        better = self.margin * largest_eigenvalue(system, v, self.seed)
        if not math.isfinite(better):
            raise SolverError('the curvature of the loss is not finite. Look '
                              'for NaN or infinite losses or weights.')
        better = better if better > scale else 2 * scale
        raise SolverError(
            f'LiSSA diverged with solver.scale={scale:.4g}. Set solver.scale '
            f'to {better:.4g}' +
            (', or leave it out to have it found.' if self.scale else '.'))


def largest_eigenvalue(system: DampedSystem,
                       like: Tensor,
                       seed: int = 0,
                       iterations: int = 30,
                       tol: float = 0.01) -> float:
    """Largest absolute eigenvalue of the single-batch estimates.

    Power iteration on every batch, each from the eigenvector of the one
    before, since batches are alike, with a random vector added: in a batch
    that is not alike it may be an eigenvector of a small eigenvalue, which no
    iteration would leave.

    Args:
        system (DampedSystem): The system.
        like (Tensor): Gives size, dtype and device.
        seed (int): Seeds the first vector.
        iterations (int): At most, for each batch.
        tol (float): Relative change at which to stop.

    Returns:
        float: The largest over all batches; a lower bound within about
        ``tol`` of the truth.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.zeros_like(like)
    largest = 0.
    for index in range(system.operator.num_batches):
        random = torch.randn(like.numel(), generator=generator).to(like)
        x = F.normalize(x, dim=0) + F.normalize(random, dim=0)
        last = 0.
        for _ in range(iterations):
            x = x / x.norm()
            moved = system.estimate([index], x)
            value = float(moved.norm())
            if not value > 0 or not math.isfinite(value):
                break
            x = moved
            if abs(value - last) <= tol * value:
                break
            last = value
        if not math.isfinite(value):
            return value
        largest = max(largest, value)
    return largest
