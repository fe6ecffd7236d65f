"""Runs mmcv's functions on the stand-in, with a compiled mmcv too."""
import importlib
import sys

import pytest

import mmal  # noqa: F401  before a test module imports mmcv.ops
from mmal.compat.ops import StandIn, has_compiled_ops


@pytest.fixture(autouse=True, scope='module')
def stand_in():
    importlib.import_module('mmcv.ops')
    with pytest.MonkeyPatch.context() as patch:
        for name in ('nms', 'roi_align', 'focal_loss'):
            patch.setattr(sys.modules[f'mmcv.ops.{name}'], 'ext_module',
                          StandIn())
        yield


@pytest.fixture
def compiled():
    """The operators of a compiled mmcv."""
    if not has_compiled_ops():
        pytest.skip('needs the compiled mmcv')
    return importlib.import_module('mmcv._ext')
