"""Inverse-curvature solvers, siblings behind one base."""
from .base import BaseSolver, DampedSystem, Solution, SolverError
from .conjugate_gradient import ConjugateGradient
from .identity import Identity
from .lissa import LiSSA, largest_eigenvalue

__all__ = [
    'BaseSolver', 'ConjugateGradient', 'DampedSystem', 'Identity', 'LiSSA',
    'Solution', 'SolverError', 'largest_eigenvalue'
]
