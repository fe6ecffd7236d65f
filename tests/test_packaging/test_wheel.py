import ast
import configparser
import importlib.metadata
import os
import os.path as osp
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser

import pytest

import mmal.commands

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
PARTS = ('CHANGELOG.md', 'CITATION.cff', 'CONTRIBUTING.md', 'LICENSE',
         'MANIFEST.in', 'README.md', 'SECURITY.md', 'configs', 'mmal',
         'model-index.yml', 'pyproject.toml', 'requirements', 'setup.py',
         'tools')


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A copy of what is packed, so that the checkout stays clean."""
    folder = tmp_path_factory.mktemp('source')
    for name in PARTS:
        if osp.isdir(osp.join(ROOT, name)):
            shutil.copytree(
                osp.join(ROOT, name),
                folder / name,
                ignore=shutil.ignore_patterns('__pycache__', '.mim'))
        else:
            shutil.copy(osp.join(ROOT, name), folder / name)
    return folder


def build(source, command, out):
    subprocess.run([sys.executable, 'setup.py', '-q', command, '-d', str(out)],
                   cwd=source,
                   check=True,
                   capture_output=True)
    return osp.join(out, os.listdir(out)[0])


@pytest.fixture(scope='module')
def wheel(source, tmp_path_factory):
    with zipfile.ZipFile(
            build(source, 'bdist_wheel',
                  tmp_path_factory.mktemp('wheel'))) as f:
        yield f


def test_wheel_has_everything(wheel):
    names = set(wheel.namelist())
    assert 'mmal/reporting/templates/report.html' in names
    assert 'mmal/.mim/model-index.yml' in names
    for folder in ('mmal', 'configs', 'tools'):
        for path, _, files in os.walk(osp.join(ROOT, folder)):
            if '.mim' in path or '__pycache__' in path:
                continue
            path = osp.relpath(path, ROOT)
            prefix = '' if folder == 'mmal' else 'mmal/.mim/'
            wanted = {f'{prefix}{path}/{f}' for f in files
                      if f.endswith(('.py', '.sh', '.yml', '.md', '.html'))}
            assert wanted <= names


def test_wheel_has_nothing_else(wheel):
    assert all(n.startswith(('mmal/', 'mmdet_al-')) for n in wheel.namelist())
    assert not any('__pycache__' in n for n in wheel.namelist())


def test_metadata(wheel):
    path = next(n for n in wheel.namelist() if n.endswith('/METADATA'))
    metadata = Parser().parsestr(wheel.read(path).decode())
    assert metadata['Name'] == 'mmdet-al'
    assert metadata['Author'] == 'mmal developers'
    assert metadata['Version'] == mmal.__version__
    assert metadata['License-Expression'] == 'Apache-2.0'
    assert 'active learning' in metadata.get_payload()
    assert metadata['Requires-Python'] == '>=3.10'
    hard = [r for r in metadata.get_all('Requires-Dist') if 'extra' not in r]
    assert {'numpy', 'packaging', 'pillow'} <= {
        re.match(r'[\w-]+', r)[0] for r in hard}
    assert not any(r.startswith(('mm', 'torch')) for r in hard)
    extras = metadata.get_all('Provides-Extra')
    assert {'lite0', 'digits', 'demo', 'tests', 'openmmlab', 'all'} <= set(
        extras)
    assert not any('mmcv' in r and "'mim'" not in r and '"mim"' not in r
                   for r in metadata.get_all('Requires-Dist'))


def test_sdist_can_be_built_from(source, tmp_path):
    with tarfile.open(build(source, 'sdist', tmp_path)) as f:
        names = {n.split('/', 1)[-1] for n in f.getnames()}
    assert {
        'requirements/pinned.txt', 'configs/_base_/active_learning.py',
        'tools/quickstart.sh', 'model-index.yml', 'LICENSE',
        'mmal/reporting/templates/report.html', 'CHANGELOG.md',
        'CONTRIBUTING.md', 'CITATION.cff', 'SECURITY.md', 'pyproject.toml',
        'configs/isal/README.md'
    } <= names


def test_the_command_is_installed(wheel):
    path = next(n for n in wheel.namelist()
                if n.endswith('/entry_points.txt'))
    points = configparser.ConfigParser()
    points.read_string(wheel.read(path).decode())
    (name, target), = points['console_scripts'].items()
    point = importlib.metadata.EntryPoint(name, target, 'console_scripts')
    assert name == 'mmal' and point.load() is mmal.commands.main


# Import names that are not those of their distributions, and cv2, which comes
# with mmengine under one of four names.
DISTRIBUTIONS = {'PIL': 'pillow', 'yaml': 'pyyaml', 'sklearn': 'scikit-learn',
                 'vl_convert': 'vl-convert-python', 'umap': 'umap-learn',
                 'cv2': None}


def test_what_is_imported_is_declared(wheel):
    path = next(n for n in wheel.namelist() if n.endswith('/METADATA'))
    metadata = Parser().parsestr(wheel.read(path).decode())
    declared = {re.match(r'[\w-]+', r)[0].replace('-', '_')
                for r in metadata.get_all('Requires-Dist')}
    # which of several builds these are is for the user to choose, and whether
    # wandb is among the visualizer's backends
    declared |= {'torch', 'torchvision', 'mmcv', 'wandb'}
    for name in wheel.namelist():
        if not name.endswith('.py') or '/.mim/' in name:
            continue
        for node in ast.walk(ast.parse(wheel.read(name))):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module]
            for module in (m.partition('.')[0] for m in modules):
                if module in sys.stdlib_module_names or module == 'mmal':
                    continue
                wanted = DISTRIBUTIONS.get(module, module)
                assert wanted is None or wanted.replace(
                    '-', '_') in declared, f'{name} imports {module}'


def test_model_index_names_files_that_exist():
    import yaml
    with open(osp.join(ROOT, 'model-index.yml')) as f:
        index = yaml.safe_load(f)
    for name in index['Import']:
        with open(osp.join(ROOT, name)) as f:
            models = yaml.safe_load(f)['Models']
        assert models
        for model in models:
            assert osp.isfile(osp.join(ROOT, model['Config']))
