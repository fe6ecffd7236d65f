"""Configs of Gaussian and mixture FCOS: equal but for the head."""
import os
import os.path as osp

import pytest
import yaml
from mmengine.config import Config, ConfigDict

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
FOLDER = osp.join(ROOT, 'configs', 'mdn_fcos')
TYPES = {'': 'FCOSHead', '-gaussian': 'mmal.GaussianFCOSHead',
         '-mdn': 'mmal.MDNFCOSHead'}
DATA = {'bccd': ('-lite0', 3), 'voc07mini': ('-lite0', 20),
        'digits': ('', 10), 'r50_fpn_coco': ('', 80)}
RUNS = {'fcos-mdn': ('digits', 'fcos_isal_digits'),
        'fcos-lite0-mdn': ('bccd', 'fcos-lite0_isal_bccd')}


def _read(folder, name):
    return Config.fromfile(osp.join(ROOT, 'configs', folder, f'{name}.py'))


@pytest.mark.parametrize('data', DATA)
def test_only_the_head_differs(data):
    backbone, classes = DATA[data]
    configs = {t: _read('mdn_fcos', f'fcos{backbone}{t}_{data}')
               for t in TYPES}
    for kind, cfg in configs.items():
        head = cfg.model.bbox_head
        assert head.type == TYPES[kind]
        assert head.num_classes == classes and head.norm_on_bbox
        head.type = TYPES['']
        assert cfg.to_dict() == configs[''].to_dict()


@pytest.mark.parametrize('kind', TYPES)
@pytest.mark.parametrize('data', DATA)
def test_models_are_built(data, kind, mmdet_scope):
    from mmdet.registry import MODELS
    backbone, _ = DATA[data]
    model = _read('mdn_fcos', f'fcos{backbone}{kind}_{data}').model
    head = ConfigDict(model.bbox_head.to_dict(), _scope_='mmdet')
    built = MODELS.build(head)
    own = [n for n, _ in built.named_children() if n.count('_') == 2]
    assert len([n for n in own if n.startswith('conv_')]) == {
        '': 0, '-gaussian': 1, '-mdn': 5}[kind]


@pytest.mark.parametrize('method, scorer', [
    ('mixture', 'mmal.MixtureUncertaintyScorer'),
    ('random', 'mmal.RandomScorer')])
@pytest.mark.parametrize('detector', RUNS)
def test_runs_are_those_of_isal_with_another_head(detector, method, scorer):
    data, sibling = RUNS[detector]
    ours = _read('al', f'{detector}_{method}_{data}').to_dict()
    base = _read('al', sibling).to_dict()
    assert ours['active_learning'].pop('scorer') == dict(type=scorer)
    assert ours['model']['bbox_head'].pop('type') == 'mmal.MDNFCOSHead'
    base['active_learning'].pop('scorer')
    base['model']['bbox_head'].pop('type')
    assert ours == base


def test_readme_and_index_name_every_config():
    ours = {n for n in os.listdir(FOLDER) if n.endswith('.py')}
    assert len(ours) == len(TYPES) * len(DATA)
    runs = {f'../al/{d}_{m}_{data}.py' for d, (data, _) in RUNS.items()
            for m in ('mixture', 'random')}
    with open(osp.join(FOLDER, 'README.md'), encoding='utf-8') as f:
        linked = {part.split(')')[0] for part in f.read().split('](')[1:]}
    assert all(osp.isfile(osp.join(FOLDER, path)) for path in linked)
    assert ours | runs <= linked
    with open(osp.join(FOLDER, 'metafile.yml'), encoding='utf-8') as f:
        models = yaml.safe_load(f)['Models']
    assert len(models) == len(ours | runs)
    for model in models:
        assert osp.isfile(osp.join(ROOT, model['Config']))
        assert model['Config'].endswith(f"/{model['Name']}.py")
