"""Configs of evidential RetinaNet: equal but for the head."""
import os
import os.path as osp

import pytest
import yaml
from mmengine.config import Config, ConfigDict

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
FOLDER = osp.join(ROOT, 'configs', 'evidential')
HEAD = 'mmal.EvidentialRetinaHead'
RUNS = ['retinanet-evidential_{}_coco', 'retinanet-lite0-evidential_{}_bccd']
SCORERS = {'hierarchical-uncertainty': 'mmal.HierarchicalUncertaintyScorer',
           'random': 'mmal.RandomScorer'}


def _read(folder, name):
    return Config.fromfile(osp.join(ROOT, 'configs', folder, f'{name}.py'))


def test_only_the_head_differs():
    plain = _read('evidential', 'retinanet-lite0_bccd')
    ours = _read('evidential', 'retinanet-lite0-evidential_bccd')
    assert ours.model.bbox_head.type == HEAD
    ours.model.bbox_head.type = 'RetinaHead'
    assert ours.to_dict() == plain.to_dict()


@pytest.mark.parametrize('name, classes, background', [
    ('retinanet-lite0-evidential_bccd', 3, True),
    ('retinanet-evidential_r50_fpn_coco', 80, False)])
def test_models_are_built(name, classes, background, mmdet_scope):
    from mmdet.registry import MODELS
    head = _read('evidential', name).model.bbox_head
    built = MODELS.build(ConfigDict(head.to_dict(), _scope_='mmdet'))
    assert built.retina_cls.out_channels == built.num_base_priors * (
        classes + background)
    assert len(built.evidence_convs) == built.stacked_convs


@pytest.mark.parametrize('run', RUNS)
def test_runs_differ_in_the_scorer(run):
    configs = [_read('al', run.format(m)).to_dict() for m in SCORERS]
    for cfg, scorer in zip(configs, SCORERS.values()):
        assert cfg['active_learning'].pop('scorer') == dict(type=scorer)
        assert cfg['model']['bbox_head']['type'] == HEAD
    assert configs[0] == configs[1]


def test_the_small_run_has_the_task_of_fcos():
    ours, fcos = (_read('_base_/al_tasks', f'{d}_bccd').to_dict()
                  for d in ('retinanet-lite0-evidential', 'fcos-lite0'))
    ours.pop('model')
    fcos.pop('model')
    assert ours == fcos


def test_readme_and_index_name_every_config():
    ours = {n for n in os.listdir(FOLDER) if n.endswith('.py')}
    runs = {f'../al/{run.format(m)}.py' for run in RUNS for m in SCORERS}
    with open(osp.join(FOLDER, 'README.md'), encoding='utf-8') as f:
        linked = {part.split(')')[0] for part in f.read().split('](')[1:]}
    assert all(osp.exists(osp.join(FOLDER, path.split('#')[0]))
               for path in linked if not path.startswith('https://'))
    assert ours | runs <= linked
    with open(osp.join(FOLDER, 'metafile.yml'), encoding='utf-8') as f:
        models = yaml.safe_load(f)['Models']
    assert len(models) == len(ours | runs)
    for model in models:
        assert osp.isfile(osp.join(ROOT, model['Config']))
        assert model['Config'].endswith(f"/{model['Name']}.py")
