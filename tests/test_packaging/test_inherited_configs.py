"""Every shipped config, inherited as ``mmal::…`` by a file elsewhere."""
import functools
import glob
import json
import os.path as osp

import mmengine.registry
import pytest
import torch
from mmengine.config import Config

import mmal.registry

ROOT = osp.join(
    osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__)))), 'configs')
NAMES = sorted(
    osp.relpath(path, ROOT)
    for path in glob.glob(osp.join(ROOT, '**', '*.py'), recursive=True)
    if not osp.relpath(path, ROOT).startswith('_base_'))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder elsewhere; mmengine finds files of packages, but only once.

    It reads the yaml files of all detectors of mmdet each time that one is
    named.
    """
    find = Config._get_cfg_path
    of_package = functools.cache(lambda path: find(path, ''))
    with pytest.MonkeyPatch.context() as m:
        m.setattr(
            Config, '_get_cfg_path',
            staticmethod(lambda path, file: of_package(path)
                         if '::' in path else find(path, file)))
        yield tmp_path_factory.mktemp('elsewhere')


@pytest.fixture(scope='module')
def inherited(folder):
    """Name -> config that inherits it, one for each model there is."""
    configs, seen = {}, set()
    for name in NAMES:
        path = folder / 'mine.py'
        path.write_text(f"_base_ = 'mmal::{name}'\n")
        cfg = Config.fromfile(str(path))
        model = json.dumps(cfg.model.to_dict(), sort_keys=True)
        if model not in seen:
            seen.add(model)
            configs[name] = cfg
        assert cfg.default_scope == 'mmdet', name
    return configs


@pytest.fixture(scope='module')
def without_weights():
    """Modules whose weights are whatever was in memory, made quickly."""
    names = [n for n in dir(torch.nn.init) if n.endswith('_') and n[0] != '_']
    with pytest.MonkeyPatch.context() as m:
        for name in names:
            m.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)
        yield


def failures(configs, models):
    """Name -> why its model cannot be built as what its config names."""
    problems = {}
    for name, cfg in configs.items():
        try:
            built = type(models.build(cfg.model)).__name__
        except Exception as e:
            built = repr(e)[:200]
        if built != cfg.model.type.rpartition('.')[2]:
            problems[name] = built
    return problems


def test_configs_were_looked_for():
    assert 'al/fcos_isal_digits.py' in NAMES


@pytest.mark.parametrize('registry', [mmengine.registry, mmal.registry])
def test_model_is_built_in_no_scope(inherited, without_weights, registry):
    assert failures(inherited, registry.MODELS) == {}


@pytest.mark.parametrize('scope', ['mmdet', 'mmal', 'mmengine'])
def test_model_is_built_in_any_scope(inherited, without_weights, scope):
    mmengine.registry.init_default_scope(scope)
    assert failures(inherited, mmengine.registry.MODELS) == {}


def test_model_is_built_with_a_second_base(folder, inherited,
                                           without_weights):
    (folder / 'own.py').write_text('work_dir = "mine"\n')
    configs = {}
    for name in inherited:
        path = folder / 'two.py'
        path.write_text(
            f"_base_ = ['mmal::{name}', './own.py']\n"
            'model = dict(init_cfg=None)\n')
        configs[name] = Config.fromfile(str(path))
        assert configs[name].work_dir == 'mine'
    assert failures(configs, mmengine.registry.MODELS) == {}
