"""What all tests share."""
import functools
import gc
import os

from helpers import pretended_gpu

# torch asks once, when it is imported, what devices there are
WHY_NO_GPU = pretended_gpu.start_if_asked()

import cv2
import mmengine.config.config as mmengine_config
import mmengine.runner.runner as mmengine_runner
import pytest
import torch
from mmengine.registry import DefaultScope

import mmal  # noqa: F401  before mmdet: it supplies missing operators

# Forks have no threads but the one that forked, so none may be relied on.
torch.set_num_threads(1)
cv2.setNumThreads(0)


def import_once():
    """Import what runs need, so that no fork of a test has to.

    Every data set of mmengine collects garbage, and would look through all
    that was imported each time.
    """
    import mmdet.apis  # noqa: F401
    import torch._dynamo  # noqa: F401  by the first optimizer
    from mmdet.utils import register_all_modules

    import mmal.engine  # noqa: F401
    register_all_modules(init_default_scope=False)
    gc.collect()
    gc.freeze()


import_once()


def as_it_is(code, **kwargs):
    """Stands for yapf, whose layout of a config takes half a second."""
    compile(code, 'config', 'exec')
    return code, True


@pytest.fixture(scope='session', autouse=True)
def quick_runners():
    """Runners that neither lay out configs nor ask compilers for versions.

    Tests that start python as a user does have runners as they are.
    """
    with pytest.MonkeyPatch.context() as m:
        m.setattr(mmengine_config, 'FormatCode', as_it_is)
        m.setattr(mmengine_runner, 'collect_env',
                  functools.cache(mmengine_runner.collect_env))
        yield


@pytest.fixture(autouse=True)
def default_scope_as_before():
    """A test that sets the default scope leaves none to the next one."""
    scopes = DefaultScope._instance_dict
    before = dict(scopes)
    yield
    scopes.clear()
    scopes.update(before)


@pytest.fixture
def mmdet_scope():
    """The default scope that a Runner would set."""
    from mmdet.utils import register_all_modules
    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def pytest_runtest_setup(item):
    """Skip what is marked 'cuda', or asks for a GPU, where there is none."""
    wants = item.get_closest_marker('cuda') or 'device' in item.fixturenames
    if wants and not torch.cuda.is_available():
        pytest.skip(WHY_NO_GPU
                    or 'no GPU: bash tools/run_tests.sh --pretend-gpu')


@pytest.fixture
def device(monkeypatch):
    """The GPU, a real or a pretended one, which rounds as the CPU does.

    A test that asks for it should be marked 'cuda', to be chosen by that.
    """
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    return torch.device('cuda')


@pytest.fixture
def watch(device):
    """Counts kernels and waits: ``with watch: ...; watch.waits``."""
    if not pretended_gpu.is_on():
        pytest.skip('only a pretended GPU counts kernels and waits')
    return pretended_gpu.Watch()


@pytest.fixture(scope='session')
def photos():
    """Folder of the real photos, named by MMAL_DATA_ROOT."""
    root = os.environ.get('MMAL_DATA_ROOT')
    if not root or not os.path.isdir(root):
        pytest.skip('MMAL_DATA_ROOT does not name a folder of real photos')
    return root
