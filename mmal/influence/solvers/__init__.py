"""Inverse-curvature solvers, siblings behind one base."""
from .base import BaseSolver, DampedSystem, Solution, SolverError
from .block_cholesky import BlockCholesky
from .conjugate_gradient import ConjugateGradient
from .default_solver import DefaultSolver
from .identity import Identity
from .lissa import LiSSA, largest_eigenvalue
from .minres import MINRES

__all__ = [
    'BaseSolver', 'BlockCholesky', 'ConjugateGradient', 'DampedSystem',
    'DefaultSolver', 'Identity', 'LiSSA', 'MINRES', 'Solution', 'SolverError',
    'largest_eigenvalue'
]
