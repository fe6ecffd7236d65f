"""Lets other projects inherit from mmal's configs."""
import functools
import os.path as osp
from typing import Optional

from mmengine.config import config, utils

_HERE = osp.dirname(osp.dirname(osp.abspath(__file__)))


def register() -> None:
    """Make ``_base_ = ['mmal::_base_/active_learning.py']`` resolve.

    mmengine looks packages up in a table of its own, and looks for one
    installed with ``pip install -e`` in site-packages, where it is not. It
    also marks what it inherits by the package's name, and then looks for
    mmdet's classes among mmal's: mmal's own types carry their prefix, so that
    its configs need no mark.
    """
    utils.MODULE2PACKAGE['mmal'] = 'mmal'
    original, path_and_scope = (config.get_installed_path,
                                config.Config._get_cfg_path)
    if hasattr(original, '__wrapped__'):
        return

    @functools.wraps(original)
    def get_installed_path(package: str) -> str:
        return _HERE if package == 'mmal' else original(package)

    @functools.wraps(path_and_scope)
    def without_scope_of_mmal(
            cfg_path: str, filename: str) -> tuple[str, Optional[str]]:
        path, scope = path_and_scope(cfg_path, filename)
        return path, None if scope == 'mmal' else scope

    config.get_installed_path = get_installed_path
    config.Config._get_cfg_path = staticmethod(without_scope_of_mmal)
