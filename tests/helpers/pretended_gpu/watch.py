"""Counts what a GPU would be given to do, and where Python waits for it."""
from __future__ import annotations

import collections
import os
import sys


class Watch:
    """Counts kernels and copies, and says which lines wait for the GPU.

    Args:
        roots (tuple[str]): Parts of the paths of code to name.
        depth (int): How many lines of a call stack. Defaults to 2.

    Attributes:
        kinds (Counter): 'kernel', 'wait' (item, nonzero, masks, ...), 'd2h'
            and 'h2d': copies from and to the device, which wait as well
            unless the memory is pinned.

    Example:
        >>> with Watch() as watch:
        ...     scorer.process(model, batch)
        >>> print(watch.report())
    """

    def __init__(self,
                 roots: tuple = ('/mmal/', '/mmdet/', '/mmengine/', '/mmcv/'),
                 depth: int = 2) -> None:
        self.roots, self.depth = roots, depth
        self.kinds: collections.Counter = collections.Counter()
        self.lines: collections.Counter = collections.Counter()
        self.bytes: collections.Counter = collections.Counter()

    @property
    def waits(self) -> int:
        """How often Python waited for the GPU."""
        return self.kinds['wait'] + self.kinds['d2h']

    def __enter__(self) -> Watch:
        sys.modules['mmal_pretended_gpu'].watch(self)
        return self

    def __exit__(self, *args) -> None:
        sys.modules['mmal_pretended_gpu'].watch(None)

    def __call__(self, kind: str, operator: str, nbytes: int) -> None:
        """Called by the device with what it is asked to do."""
        self.kinds[kind] += 1
        if kind == 'kernel':
            return
        try:
            frame = sys._getframe(1)
        except ValueError:  # a thread of autograd has no Python below this
            frame = None
        where: list = []
        while frame is not None and len(where) < self.depth:
            path = frame.f_code.co_filename
            if any(r in path for r in self.roots) and \
                    f'{os.sep}torch{os.sep}' not in path:
                where.append(f'{path}:{frame.f_lineno}')
            frame = frame.f_back
        key = kind, operator, ' < '.join(where)
        self.lines[key] += 1
        self.bytes[key] += nbytes

    def report(self, most: int = 30) -> str:
        """A table of the lines that wait most often."""
        rows = [str(dict(self.kinds))]
        for key, count in self.lines.most_common(most):
            kind, operator, where = key
            rows.append(f'{count:7d} {kind:4s} {operator:24s} '
                        f'{self.bytes[key] / 1e6:9.2f} MB  {where}')
        return '\n'.join(rows)
