"""mmal: active learning for MMDetection 3.x."""
from . import compat, registry
from .version import __version__

compat.setup()

__all__ = ['__version__', 'registry']
