"""Configs of few labels, and of two stages."""
import functools
import os.path as osp

import pytest
import yaml
from mmengine.config import Config

from mmal.engine.settings import Settings

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
FOLDER = osp.join(ROOT, 'configs', 'al')
SELECTORS = {
    'k-means-centres': 'KMeansCentres', 'typiclust': 'TypiClust',
    'prob-cover': 'ProbCover', 'two-stage-entropy-core-set': 'TwoStage'}
TASKS = {'bccd': 'fcos-lite0', 'neudet': 'fcos-lite0', 'digits': 'fcos'}
RUNS = [f'{model}_{method}_{task}' for method in SELECTORS
        for task, model in TASKS.items()]


@functools.cache
def read(name):
    return Config.fromfile(osp.join(FOLDER, f'{name}.py'))


@pytest.mark.parametrize('name', RUNS)
def test_a_run_differs_from_random_in_its_method(name):
    model, method, task = name.split('_')
    settings = Settings.from_config(read(name))
    assert settings.selector['type'] == f'mmal.{SELECTORS[method]}'
    ours = read(name).to_dict()
    plain = read(f'{model}_random_{task}').to_dict()
    of_ours, of_plain = (c.pop('active_learning') for c in (ours, plain))
    assert ours == plain
    for key in ('scorer', 'selector', 'embedder'):
        of_ours.pop(key, None)
        of_plain.pop(key, None)
    assert of_ours == of_plain


def test_the_embeddings_are_of_a_network_that_needs_no_training():
    for method in ('k-means-centres', 'typiclust', 'prob-cover'):
        cfg = read(f'fcos-lite0_{method}_bccd')
        embedder, backbone = cfg.active_learning.embedder, cfg.model.backbone
        assert embedder.type == 'mmal.EmbeddingModel'
        # the detector begins as this network
        assert embedder.backbone.type == backbone.type
        assert embedder.backbone.init_cfg == backbone.init_cfg
        for key, value in embedder.data_preprocessor.items():
            assert cfg.model.data_preprocessor[key] == value


def test_readme_and_index_name_every_config():
    folder = osp.join(ROOT, 'configs', 'low_budget')
    with open(osp.join(folder, 'README.md'), encoding='utf-8') as f:
        linked = {part.split(')')[0] for part in f.read().split('](')[1:]}
    assert all(osp.exists(osp.join(folder, path)) for path in linked)
    assert {f'../al/{name}.py' for name in RUNS} <= linked
    with open(osp.join(FOLDER, 'metafile.yml'), encoding='utf-8') as f:
        models = yaml.safe_load(f)['Models']
    assert {m['Name'] for m in models
            if m['In Collection'] == 'Low budget'} == set(RUNS)
