"""Lets other projects inherit from mmal's configs."""
import functools
import os.path as osp
from typing import Optional

from mmengine.config import config, utils

_HERE = osp.dirname(osp.dirname(osp.abspath(__file__)))


# Names without a prefix in mmal's configs are mmdet's.
_SCOPE = 'mmdet'


def register() -> None:
    """Make ``_base_ = ['mmal::_base_/active_learning.py']`` resolve.

    mmengine looks packages up in a table of its own, and looks for one
    installed with ``pip install -e`` in site-packages, where it is not.

    It also marks every outermost dict with a type that it reads from another
    package: ``_scope_`` says in which registries the types of this dict, and
    of those inside, are looked for. The mark is the package's name. But
    mmal's configs are mmdet's with a few types of our own, which carry the
    prefix ``mmal.``: marked by 'mmal', ``FCOS`` would be looked for among
    mmal's; without a mark, in the registry that happens to build it, or in
    the default scope of the project that inherits. So they are marked by
    'mmdet', and can be built by any registry in any scope.
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
    def mark_types_as_mmdets(
            cfg_path: str, filename: str) -> tuple[str, Optional[str]]:
        path, scope = path_and_scope(cfg_path, filename)
        return path, _SCOPE if scope == 'mmal' else scope

    config.get_installed_path = get_installed_path
    config.Config._get_cfg_path = staticmethod(mark_types_as_mmdets)


def path_of_config(name: str) -> str:
    """The file of a config that a package brings.

    Args:
        name (str): E.g. ``mmdet::retinanet/retinanet_r50_fpn_1x_coco.py``.

    Raises:
        FileNotFoundError: If there is no such package or config.
    """
    try:
        return config.Config._get_cfg_path(name, '')[0]
    except (AssertionError, ImportError, OSError, ValueError) as e:
        raise FileNotFoundError(
            f'there is no config {name}: {e}. Write the package, :: and the '
            "config's path below configs/, e.g. "
            'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py.') from e
