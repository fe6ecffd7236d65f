"""Lets other projects inherit from mmal's configs."""
import functools
import os.path as osp

from mmengine.config import config, utils

_HERE = osp.dirname(osp.dirname(osp.abspath(__file__)))


def register() -> None:
    """Make ``_base_ = ['mmal::_base_/active_learning.py']`` resolve.

    mmengine looks packages up in a table of its own, and looks for one
    installed with ``pip install -e`` in site-packages, where it is not.
    """
    utils.MODULE2PACKAGE['mmal'] = 'mmal'
    original = config.get_installed_path
    if hasattr(original, '__wrapped__'):
        return

    @functools.wraps(original)
    def get_installed_path(package: str) -> str:
        return _HERE if package == 'mmal' else original(package)

    config.get_installed_path = get_installed_path
