"""Curvature operators, each a mean over images."""
from .base import BatchedOperator, OperatorBatch
from .cache import CachedBatches
from .exact_hessian import ExactHessian, ExactHessianBatch
from .gauss_newton import GaussNewton, GaussNewtonBatch

__all__ = [
    'BatchedOperator', 'CachedBatches', 'ExactHessian', 'ExactHessianBatch',
    'GaussNewton', 'GaussNewtonBatch', 'OperatorBatch'
]
