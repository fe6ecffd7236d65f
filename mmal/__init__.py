"""mmal: active learning for MMDetection 3.x."""
import functools
import importlib

from . import compat
from .version import __version__

# Before anything imports mmcv.ops. Neither of the two imports torch or
# mmengine: they wait for whoever does.
compat.setup()
compat.after_import.call(
    'mmengine', functools.partial(importlib.import_module, 'mmal.registry'))

__all__ = ['__version__', 'registry']


def __getattr__(name):
    if name == 'registry':
        return importlib.import_module('mmal.registry')
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
