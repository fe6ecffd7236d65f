"""Version checks and what a user is told."""
import importlib.metadata
import importlib.util
import subprocess
import sys

import pytest

from mmal.compat import versions

MMCV = next(r for r in versions.REQUIREMENTS if r.module == 'mmcv')
NAMES = [name for r in versions.REQUIREMENTS for name, _ in r.ranges]


@pytest.fixture
def install(monkeypatch):
    """Pretend that exactly these distributions are installed."""
    found = {}

    def version(name):
        if name not in found:
            raise importlib.metadata.PackageNotFoundError(name)
        return found[name]

    modules = {name: r.module for r in versions.REQUIREMENTS
               for name, _ in r.ranges}

    def find_spec(module):
        return object() if any(modules[n] == module for n in found) else None

    monkeypatch.setattr(importlib.metadata, 'version', version)
    monkeypatch.setattr(importlib.util, 'find_spec', find_spec)

    def install(**names):
        found.clear()
        found.update({n.replace('_', '-'): v for n, v in names.items()})

    return install


GOOD = dict(torch='2.13.0+cpu', mmengine='0.10.7', mmcv_lite='2.1.0',
            mmdet='3.3.0')


@pytest.mark.parametrize('changes', [
    {}, {'mmcv_lite': None, 'mmcv': '2.1.0'},
    {'torch': '2.1.2+cu121'}, {'torch': '2.14.0.dev20260101'},
    {'mmengine': None, 'onedl_mmengine': '0.10.12', 'mmcv_lite': None,
     'onedl_mmcv': '2.3.2.post2', 'mmdet': None,
     'onedl_mmdetection': '3.5.1'},
])
def test_accepted(install, changes):
    install(**{n: v for n, v in {**GOOD, **changes}.items() if v})
    versions.check()


@pytest.mark.parametrize('name, version', [
    ('torch', '1.13.1'), ('torch', '3.0.0'), ('mmengine', '0.7.0'),
    ('mmengine', '1.0.0'), ('mmcv_lite', '1.7.2'), ('mmdet', '2.28.2'),
    ('mmdet', '4.0.0')])
def test_refused_with_the_range_and_the_command(install, name, version):
    install(**{**GOOD, name: version})
    with pytest.raises(ImportError) as info:
        versions.check()
    dashed = name.replace('_', '-')
    message = str(info.value)
    assert f'{dashed} {version} is installed' in message
    assert f'pip install "{dashed}>=' in message
    assert '\n' not in message


@pytest.mark.parametrize('name', ['torch', 'mmengine', 'mmcv_lite', 'mmdet'])
def test_a_missing_package_is_named_with_the_command(install, name):
    install(**{n: v for n, v in GOOD.items() if n != name})
    with pytest.raises(ImportError, match='pip install') as info:
        versions.check()
    assert info.value.name == name.replace('_lite', '')
    assert info.value.name in str(info.value)


def test_both_kinds_of_mmcv_are_offered():
    assert 'pip install "mmcv-lite' in MMCV.missing
    assert 'pip install --no-build-isolation "mmcv>=2' in MMCV.missing


def test_this_environment_is_accepted():
    versions.check()
    name, version = versions.installed(MMCV)
    assert name in dict(MMCV.ranges) and version[0] == '2'


def test_a_source_tree_without_metadata_counts(monkeypatch):
    def nothing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, 'version', nothing)
    import mmcv
    assert versions.installed(MMCV) == ('mmcv', mmcv.__version__)


BLOCK = '''
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
'''


def run(code, *blocked):
    return subprocess.run(
        [sys.executable, '-c', BLOCK.format(names=blocked) + code],
        capture_output=True, text=True)


def test_import_without_mmcv_says_what_to_install():
    result = run('import mmal', 'mmcv')
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith('ImportError: mmal needs mmcv')
    assert 'mmcv-lite' in last and '--no-build-isolation' in last


PKG_RESOURCES = '''
import importlib.machinery
class Gone(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.split('.')[0] in ('pkg_resources', 'setuptools'):
            return None
        return importlib.machinery.PathFinder.find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Gone
'''
BASE = '''
from mmengine.config import Config
config = Config.fromstring(
    "_base_ = 'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py'", '.py')
print(config.model.type)
'''


def test_bases_of_mmdet_without_pkg_resources():
    """As with setuptools 82: the module cannot be found."""
    without = run(PKG_RESOURCES + BASE)
    assert "No module named 'pkg_resources'" in without.stderr
    result = run(PKG_RESOURCES + 'import mmal' + BASE +
                 'import pkg_resources; print(pkg_resources.__file__)')
    assert result.returncode == 0, result.stderr
    kind, file = result.stdout.split()
    assert kind == 'FCOS' and file.endswith('_pkg_resources.py')


def test_a_real_pkg_resources_is_preferred():
    # not imported here, where distutils may have been already
    if importlib.util.find_spec('setuptools') is None:
        pytest.skip('there is no setuptools')
    if importlib.util.find_spec('pkg_resources').origin.endswith(
            '_pkg_resources.py'):
        pytest.skip('setuptools is too new to have one')
    result = run('import mmal' + BASE +
                 'import pkg_resources; print(pkg_resources.__file__)')
    assert result.stdout.split()[0] == 'FCOS', result.stderr
    assert '_pkg_resources.py' not in result.stdout
    assert 'deprecated as an API' not in result.stderr


FIND_LOADER = '''
import pkgutil
if hasattr(pkgutil, 'find_loader'):  # as in Python 3.14
    del pkgutil.find_loader
'''
FULL_MMCV = '''
from mmengine.utils.dl_utils.misc import mmcv_full_available
from mmcv.utils.ext_loader import check_ops_exist
print(mmcv_full_available(), check_ops_exist())
'''


def test_without_find_loader_of_pkgutil():
    assert "no attribute 'find_loader'" in run(FIND_LOADER + FULL_MMCV).stderr
    supplied = run(FIND_LOADER + 'import mmal' + FULL_MMCV)
    expected = run('import mmal' + FULL_MMCV)
    assert supplied.returncode == 0, supplied.stderr
    assert supplied.stdout == expected.stdout


def test_find_loader_finds_what_find_spec_finds():
    from mmal.compat.find_loader import find_loader
    for name in ('json', 'json.decoder', 'sys'):
        loader = importlib.util.find_spec(name).loader
        assert type(find_loader(name)) is type(loader)
    assert find_loader('no_such_module') is None
    for name in ('.json', 'json.decoder.no', 'no_such_package.module'):
        with pytest.raises(ImportError):
            find_loader(name)


def test_find_loader_of_python_is_left_alone():
    code = ('import pkgutil; before = getattr(pkgutil, "find_loader", None)\n'
            'import mmal\n'
            'from mmal.compat.find_loader import find_loader\n'
            'assert pkgutil.find_loader is (before or find_loader)')
    assert run(code).returncode == 0


def test_pkg_resources_stand_in():
    from mmal.compat.resources import Finder
    assert Finder.find_spec('pkg_resource') is None
    spec = Finder.find_spec('pkg_resources')
    stand_in = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stand_in)
    found = stand_in.get_distribution('pytest')
    assert found.version == pytest.__version__
    assert found.location and found.has_metadata('METADATA')
    assert 'Name: pytest' in found.get_metadata('METADATA')
    with pytest.raises(stand_in.DistributionNotFound):
        stand_in.get_distribution('no-such-distribution')
    with pytest.raises(FileNotFoundError, match='nothing.txt'):
        found.get_metadata('nothing.txt')
