"""Installation; the settings that need no code are in setup.cfg."""
import os
import os.path as osp
import shutil

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = osp.dirname(osp.abspath(__file__))
EXTRAS = {
    'openmmlab': ['openmmlab'],
    'mim': ['mminstall'],
    'lite0': ['lite0'],
    'digits': ['digits'],
    'svhn': ['svhn'],
    'benchmarks': ['benchmarks'],
    'fast': ['fast'],
    'demo': ['lite0', 'digits'],
    'tests': ['tests', 'lite0', 'digits'],
    'all': ['lite0', 'digits', 'svhn', 'fast', 'tests'],
}
MIM_FILES = ('configs', 'tools', 'model-index.yml')


def read(name):
    """The text of a file beside this one; empty if there is none."""
    path = osp.join(HERE, name)
    if not osp.exists(path):
        return ''
    with open(path, encoding='utf-8') as f:
        return f.read()


def requirements(name):
    """The lines of a requirements file, those it includes as well."""
    out = []
    for line in read(f'requirements/{name}.txt').splitlines():
        line = line.split('#')[0].strip()
        if line.startswith('-r '):
            out += requirements(line[3:].strip()[:-len('.txt')])
        elif line:
            out.append(line)
    return out


def version():
    """The version, without importing the package."""
    scope = {}
    exec(read('mmal/version.py'), scope)
    return scope['__version__']


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


setup(
    version=version(),
    long_description=read('README.md'),
    long_description_content_type='text/markdown',
    packages=find_packages(include=['mmal', 'mmal.*']),
    package_data={'mmal.reporting': ['templates/*']},
    install_requires=requirements('runtime'),
    extras_require={
        extra: [line for name in names for line in requirements(name)]
        for extra, names in EXTRAS.items()
    },
    cmdclass={'build_py': BuildWithMim})
