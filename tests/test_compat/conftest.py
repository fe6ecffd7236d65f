"""Runs mmcv's functions on the stand-in, with a compiled mmcv too."""
import importlib
import sys
import types

import pytest

import mmal  # noqa: F401  before a test module imports mmcv.ops
from mmal.compat.ops import StandIn, has_compiled_ops
from mmal.compat.torchvision_ops import torchvision_ops


@pytest.fixture(autouse=True, scope='module')
def stand_in():
    importlib.import_module('mmcv.ops')
    with pytest.MonkeyPatch.context() as patch:
        for name in ('nms', 'roi_align', 'focal_loss'):
            patch.setattr(sys.modules[f'mmcv.ops.{name}'], 'ext_module',
                          StandIn())
        yield


@pytest.fixture(autouse=True, scope='module')
def no_torchvision():
    """mmal's own arithmetic is tested, whether torchvision is there or not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, 'torchvision', None)
        torchvision_ops.cache_clear()
        yield
    torchvision_ops.cache_clear()


@pytest.fixture
def torchvision(monkeypatch):
    """A module of this name, whose ``ops`` a test fills."""
    module = types.ModuleType('torchvision')
    module.ops = types.ModuleType('torchvision.ops')
    monkeypatch.setitem(sys.modules, 'torchvision', module)
    monkeypatch.setitem(sys.modules, 'torchvision.ops', module.ops)
    torchvision_ops.cache_clear()
    yield module
    torchvision_ops.cache_clear()


@pytest.fixture
def compiled():
    """The operators of a compiled mmcv."""
    if not has_compiled_ops():
        pytest.skip('needs the compiled mmcv')
    return importlib.import_module('mmcv._ext')
