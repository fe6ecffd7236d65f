"""The step of the build that needs code; all else is in pyproject.toml."""
import os
import os.path as osp
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = osp.dirname(osp.abspath(__file__))
MIM_FILES = ('configs', 'tools', 'model-index.yml')


class BuildWithMim(build_py):
    """Puts configs and tools into ``mmal/.mim``, where mim looks for them.

    A wheel gets copies, an editable installation links to the checkout.
    """

    def run(self):
        """Build the package, then add the folder."""
        super().run()
        editable = getattr(self, 'editable_mode', False)
        parent = HERE if editable else self.build_lib
        mim = osp.join(parent, 'mmal', '.mim')
        if osp.lexists(mim):
            shutil.rmtree(mim)
        os.makedirs(mim)
        for name in MIM_FILES:
            put = _link if editable else _copy
            put(osp.join(HERE, name), osp.join(mim, name))


def _link(source, target):
    os.symlink(osp.relpath(source, osp.dirname(target)), target)


def _copy(source, target):
    if osp.isfile(source):
        shutil.copyfile(source, target)
    else:
        shutil.copytree(
            source, target, ignore=shutil.ignore_patterns('__pycache__'))


setup(cmdclass={'build_py': BuildWithMim})
