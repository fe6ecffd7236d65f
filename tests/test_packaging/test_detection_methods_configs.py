"""Runs of the field's baselines: each a task of before and a method."""
import os.path as osp
from glob import glob

import pytest
import yaml
from mmengine.config import Config

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
FOLDER = osp.join(ROOT, 'configs', 'detection_methods')
TASKS = ('fcos-lite0_{}_neudet', 'fcos-lite0_{}_bccd', 'fcos_{}_digits')
METHODS = ('ppal', 'cdal', 'al-ssl', 'cald', 'enms-divproto', 'mus-cdb', 'pal')
RUNS = [task.format(method) for method in METHODS for task in TASKS]


def _read(name):
    return Config.fromfile(osp.join(ROOT, 'configs', 'al', f'{name}.py'))


@pytest.mark.parametrize('task', TASKS)
def test_runs_of_a_task_differ_in_the_method_alone(task):
    def without_method(name):
        cfg = _read(name).to_dict()
        for key in ('scorer', 'selector', 'embedder'):
            cfg['active_learning'].pop(key, None)
        cfg.pop('custom_hooks', None)
        return cfg

    random = without_method(task.format('random'))
    for method in METHODS:
        assert without_method(task.format(method)) == random


@pytest.mark.parametrize('name', RUNS)
def test_blocks_are_accepted_and_fit_the_detector(name, mmdet_scope):
    from mmdet.registry import MODELS
    from mmengine.config import ConfigDict

    from mmal.engine.build import build
    from mmal.engine.settings import Settings
    from mmal.registry import HOOKS
    cfg = _read(name)
    settings = Settings.from_config(cfg)
    scorer, selector = (build(settings, k) for k in ('scorer', 'selector'))
    for hook in cfg.get('custom_hooks', ()):
        assert HOOKS.build(hook)
    assert selector.needs_embeddings <= bool(
        scorer.needs_embeddings or settings.embedder)
    model = cfg.model.to_dict()
    model['backbone'].pop('init_cfg', None)
    built = MODELS.build(ConfigDict(model, _scope_='mmdet')).eval()
    scorer.check(built, None)
    if settings.embedder:
        build(settings, 'embedder').check(built)


def test_readme_and_index_name_every_run():
    with open(osp.join(FOLDER, 'README.md'), encoding='utf-8') as f:
        linked = {part.split(')')[0] for part in f.read().split('](')[1:]}
    assert all(osp.exists(osp.join(FOLDER, path)) for path in linked)
    assert {f'../al/{name}.py' for name in RUNS} <= linked
    with open(osp.join(FOLDER, 'metafile.yml'), encoding='utf-8') as f:
        models = yaml.safe_load(f)['Models']
    assert sorted(m['Name'] for m in models) == sorted(RUNS)
    for model in models:
        assert model['Config'] == f"configs/al/{model['Name']}.py"
        assert osp.isfile(osp.join(ROOT, model['Config']))


def test_every_method_is_described():
    with open(osp.join(ROOT, 'docs', 'detection_methods.md'),
              encoding='utf-8') as f:
        page = f.read()
    for method in METHODS:
        path = osp.join(ROOT, 'configs', '_base_', 'al_methods',
                        f'{method}.py')
        block = Config.fromfile(path).al_method
        then = block.selector.get('then', block.selector)
        kinds = [block.scorer.type, then.type]
        assert all(kind.removeprefix('mmal.') in page for kind in kinds)
    assert not glob(osp.join(FOLDER, '*.py'))
