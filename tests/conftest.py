"""What all tests share."""
import os

import pytest
import torch
from mmengine.registry import DefaultScope

import mmal  # noqa: F401  before mmdet: it supplies missing operators

torch.set_num_threads(1)


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


@pytest.fixture(scope='session')
def photos():
    """Folder of the real photos, named by MMAL_DATA_ROOT."""
    root = os.environ.get('MMAL_DATA_ROOT')
    if not root or not os.path.isdir(root):
        pytest.skip('MMAL_DATA_ROOT does not name a folder of real photos')
    return root
