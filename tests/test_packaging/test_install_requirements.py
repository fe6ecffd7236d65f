import importlib.util
import os.path as osp
import re

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from mmal.compat.versions import REQUIREMENTS

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location(
        'install_requirements',
        osp.join(ROOT, 'tools', 'misc', 'install_requirements.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def environment(tool, monkeypatch):
    """A dict of what is installed, in place of the real environment."""
    have = {}
    monkeypatch.setattr(tool, 'installed', have.get)
    return have


def pins(tool):
    return tool.read_requirements(
        osp.join(ROOT, 'requirements', 'pinned.txt'))


def missing(tool, exact):
    ranges = tool.read_ranges()
    return [p.name for p in pins(tool) if not tool.is_met(p, ranges, exact)]


def fill(tool, environment, **changes):
    for pin in pins(tool):
        environment[tool.canonicalize_name(pin.name)] = str(pin.specifier)[2:]
    environment.update(changes)


def test_every_pin_is_exact_and_every_range_has_one(tool):
    for pin in pins(tool):
        assert re.fullmatch(r'==[\w.]+', str(pin.specifier)), pin
    pinned = {p.name.lower(): p for p in pins(tool)}
    for name, wanted in tool.read_ranges().items():
        version = str(pinned[name].specifier)[2:]
        assert wanted.specifier.contains(version), (wanted, version)


def test_the_oldest_version_of_each_range_can_be_imported(tool):
    """What pip may install is what ``import mmal`` accepts."""
    accepted = dict(pair for r in REQUIREMENTS for pair in r.ranges)
    lines = [line for name in ('openmmlab', 'mminstall')
             for line in tool.read_requirements(
                 osp.join(ROOT, 'requirements', f'{name}.txt'))
             if line.name in accepted]
    assert len(lines) == 3
    for line in lines:
        oldest, = (Version(s.version) for s in line.specifier
                   if s.operator == '>=')
        # as versions.check does: a release candidate counts as its release
        assert oldest.base_version in SpecifierSet(accepted[line.name]), line


@pytest.mark.parametrize('python', ['3.10', '3.11', '3.12', '3.13'])
def test_one_pin_a_package_for_each_python(tool, python):
    with open(osp.join(ROOT, 'requirements', 'pinned.txt')) as f:
        lines = [x for x in f.read().splitlines() if x and x[0] != '#']
    names = []
    for line in map(tool.Requirement, lines):
        environment = {'python_version': python}
        if line.marker is None or line.marker.evaluate(environment):
            names.append(line.name.lower())
    assert len(names) == len(set(names))
    assert {'numpy', 'scipy', 'matplotlib', 'torch'} <= set(names)


def test_an_empty_environment_lacks_everything(tool, environment):
    assert missing(tool, True) == missing(tool, False) == [
        p.name for p in pins(tool)
    ]


def test_a_complete_environment_lacks_nothing(tool, environment):
    fill(tool, environment, torch='2.13.0+cpu')
    assert missing(tool, True) == missing(tool, False) == []


def test_exact_wants_the_pin_and_ranges_take_what_works(tool, environment):
    fill(tool, environment, scipy='1.12.0', **{'scikit-learn': '1.2.0'})
    assert missing(tool, True) == ['scikit-learn', 'scipy']
    assert missing(tool, False) == []
    environment['scikit-learn'] = '0.24.0'
    assert missing(tool, False) == ['scikit-learn']


@pytest.mark.parametrize('ours, theirs', [
    ('mmcv-lite', 'mmcv'), ('mmcv-lite', 'onedl-mmcv'),
    ('mmengine', 'onedl-mmengine'), ('mmdet', 'onedl-mmdetection'),
    ('opencv-python', 'opencv-python-headless')
])
@pytest.mark.parametrize('exact', [True, False])
def test_another_build_is_never_overwritten(tool, environment, ours, theirs,
                                            exact):
    fill(tool, environment)
    del environment[ours]
    assert missing(tool, exact) == [ours]
    environment[theirs] = '0.0.1'
    assert missing(tool, exact) == []


def test_an_old_torch_is_named_and_left_alone(tool, environment):
    fill(tool, environment, mmengine='0.5.0')
    with pytest.raises(SystemExit, match='mmengine 0.5.0.*needs mmengine'):
        missing(tool, False)
    assert missing(tool, True) == ['mmengine']


def test_torch_comes_first_and_nothing_present_moves(tool, environment,
                                                     monkeypatch):
    fill(tool, environment, numpy='1.26.4')
    calls = []

    def record(*args):
        with open(args[2], encoding='utf-8') as f:
            calls.append((args[3:], f.read().split('\n')))

    monkeypatch.setattr(tool, 'pip', record)
    new = [p for p in pins(tool) if p.name in ('torch', 'rich', 'tqdm')]
    tool.install(new, exact=False)
    assert calls[0][0] == ('torch==2.13.0', )
    assert [a.split('==')[0] for a in calls[1][0]] == ['rich', 'tqdm']
    assert 'numpy==1.26.4' in calls[0][1] and calls[0][1] == calls[1][1]


def test_mmcv_is_required_by_nothing_that_is_installed_with_mmal(tool):
    for name in ('runtime', 'openmmlab', 'lite0', 'digits', 'tests'):
        path = osp.join(ROOT, 'requirements', f'{name}.txt')
        assert not any('mmcv' in r.name for r in tool.read_requirements(path))
    runtime = osp.join(ROOT, 'requirements', 'runtime.txt')
    names = {r.name for r in tool.read_requirements(runtime)}
    assert not names & {'torch', 'mmengine', 'mmdet', 'opencv-python'}
