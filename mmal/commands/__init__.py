"""Active learning for MMDetection 3.x: train, select, compare.

This is the command ``mmal``. Each module is one command: its docstring says
what it does, ``EXAMPLES`` how it is called, ``add_arguments`` what it takes,
and ``run`` does it. Modules import the standard library alone until ``run``
is called, so that a question for help, or a mistake in an argument, is
answered at once.
"""
from .main import main, script

__all__ = ['main', 'script']
