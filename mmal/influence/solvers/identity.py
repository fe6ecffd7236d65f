"""No curvature at all: x = v, which is Gradient Similarity."""
import time
from typing import Optional

import torch

from mmal.registry import TASK_UTILS
from ..operators.base import BatchedOperator
from ..vectors import ParamVector
from .base import BaseSolver, Progress, Solution, check_right_side


@TASK_UTILS.register_module()
class Identity(BaseSolver):
    """``x = v``: Gradient Similarity (ISAL, table 2). The operator is unused.

    Example:
        >>> Identity().solve(None, [torch.ones(2)]).x
        [tensor([1., 1.])]
    """

    def __init__(self) -> None:
        super().__init__(damping=0.)

    def solve(self,
              operator: Optional[BatchedOperator],
              v: ParamVector,
              progress: Optional[Progress] = None) -> Solution:
        """See :meth:`BaseSolver.solve`; ``operator`` may be None."""
        start = time.perf_counter()
        check_right_side(v)
        x = [t.detach().clone() for t in v]
        return Solution(
            x, seconds=time.perf_counter() - start, method='Identity')

    def check_step_metric(self, operator: Optional[BatchedOperator],
                          like: ParamVector) -> None:
        """See :meth:`BaseSolver.check_step_metric`; always works."""

    def _solve(self, system, v, progress):
        return torch.clone(v), {}
