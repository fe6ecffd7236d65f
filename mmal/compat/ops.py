"""Stand-ins for the compiled operators that mmcv-lite lacks.

mmdet imports ``mmcv.ops`` everywhere, and ``mmcv.ops`` imports the compiled
module ``mmcv._ext``. Where that module is missing, :func:`register` puts a
module with the same calling conventions in its place: mmcv passes output
tensors, and the operator fills them in place.
"""
import importlib.machinery
import importlib.util
import sys
import types
from typing import Any, Callable, List

from .deform_attn import ms_deform_attn_backward, ms_deform_attn_forward
from .focal_loss import sigmoid_focal_loss_backward, sigmoid_focal_loss_forward
from .nms import nms
from .roi_align import roi_align_backward, roi_align_forward
from .soft_nms import softnms
from .versions import COMPILED_MMCV

_NAME = 'mmcv._ext'
_OPERATORS = {
    'nms': nms,
    'softnms': softnms,
    'roi_align_forward': roi_align_forward,
    'roi_align_backward': roi_align_backward,
    'sigmoid_focal_loss_forward': sigmoid_focal_loss_forward,
    'sigmoid_focal_loss_backward': sigmoid_focal_loss_backward,
    'ms_deform_attn_forward': ms_deform_attn_forward,
    'ms_deform_attn_backward': ms_deform_attn_backward,
}


class MissingOperatorError(NotImplementedError):
    """An operator of mmcv was called that has no stand-in."""


class StandIn(types.ModuleType):
    """The module registered as ``mmcv._ext``.

    ``mmcv`` asserts with ``hasattr`` that every operator exists, so any
    public name resolves; calling one without a stand-in raises
    :class:`MissingOperatorError`. The spec has no loader, by which mmengine
    and mmcv see that this is not the full mmcv.
    """

    def __init__(self) -> None:
        super().__init__(_NAME, 'Stand-ins of mmal for mmcv operators.')
        self.__spec__ = importlib.machinery.ModuleSpec(_NAME, loader=None)
        self.__package__ = 'mmcv'
        vars(self).update(_OPERATORS)

    def __getattr__(self, name: str) -> Callable:
        if name.startswith('_'):
            raise AttributeError(f'module {_NAME!r} has no {name!r}')

        def operator(*args: Any, **kwargs: Any) -> None:
            raise MissingOperatorError(
                f'mmcv operator {name!r} needs the compiled mmcv, but '
                f'mmcv-lite is installed, for which mmal supplies only '
                f'{", ".join(sorted(_OPERATORS))}. Replace it: pip uninstall '
                f'-y mmcv-lite; {COMPILED_MMCV}')

        operator.__name__ = operator.__qualname__ = name
        return operator

    def __dir__(self) -> List[str]:
        return sorted(vars(self))


def has_compiled_ops() -> bool:
    """Whether the installed mmcv carries compiled operators.

    Looks for the file without importing mmcv.
    """
    mmcv = importlib.util.find_spec('mmcv')
    if mmcv is None or mmcv.submodule_search_locations is None:
        return False
    spec = importlib.machinery.PathFinder.find_spec(
        _NAME, mmcv.submodule_search_locations)
    return spec is not None


def register() -> bool:
    """Register the stand-in where ``mmcv._ext`` is missing.

    Returns:
        bool: whether the stand-in is in use. A compiled mmcv, or a module
        somebody else has put there, is left alone.
    """
    if _NAME in sys.modules:
        return isinstance(sys.modules[_NAME], StandIn)
    if has_compiled_ops():
        return False
    sys.modules[_NAME] = StandIn()
    return True
