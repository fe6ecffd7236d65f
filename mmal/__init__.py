"""mmal: active learning for MMDetection 3.x."""
from . import compat
from .version import __version__

compat.setup()  # before anything imports mmengine or mmdet

from . import registry  # noqa: E402

__all__ = ['__version__', 'registry']
