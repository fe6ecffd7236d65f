"""Configs of heads with mixtures: equal to the plain ones but for the head."""
import os
import os.path as osp

import pytest
import torch
import yaml
from mmengine.config import Config, ConfigDict

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
FOLDER = osp.join(ROOT, 'configs', 'mdn_heads')
PLAIN = {
    'retinanet-mdn_r50_fpn_coco': (
        'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py', 'RetinaHead'),
    'atss-mdn_r50_fpn_coco': (
        'mmdet::atss/atss_r50_fpn_1x_coco.py', 'ATSSHead'),
    'rtmdet-tiny-mdn_coco': (
        'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py', 'RTMDetSepBNHead'),
    'yolox-tiny-mdn_coco': (
        'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py', 'YOLOXHead'),
    'retinanet-lite0-mdn_bccd': (
        '../evidential/retinanet-lite0_bccd.py', 'RetinaHead')}
TYPES = dict(
    RetinaHead='mmal.MDNRetinaHead', ATSSHead='mmal.MDNATSSHead',
    RTMDetSepBNHead='mmal.MDNRTMDetHead', YOLOXHead='mmal.MDNYOLOXHead')


def read(name):
    return Config.fromfile(osp.join(FOLDER, f'{name}.py'))


@pytest.mark.parametrize('name', PLAIN)
def test_only_the_head_differs(name, tmp_path):
    path, head = PLAIN[name]
    ours = read(name)
    base = path if '::' in path else osp.join(FOLDER, path)
    (tmp_path / 'plain.py').write_text(f'_base_ = {base!r}\n')
    plain = Config.fromfile(str(tmp_path / 'plain.py')).to_dict()
    assert ours.model.bbox_head.type == TYPES[head]
    ours.model.bbox_head.type = head
    ours = ours.to_dict()
    assert ours.pop('custom_imports')['imports'] == ['mmal']
    plain.pop('custom_imports', None)
    assert ours == plain


@pytest.mark.parametrize('name', PLAIN)
def test_heads_are_built_and_run(name, mmdet_scope):
    from mmdet.registry import MODELS
    model = read(name).model
    head = model.bbox_head.to_dict()
    for norm in ('norm_cfg', ):  # of several processes
        if head.get(norm, {}).get('type') == 'SyncBN':
            head[norm] = dict(type='BN')
    keys = {k: model[k] for k in ('train_cfg', 'test_cfg') if k in model}
    built = MODELS.build(ConfigDict(head, **keys, _scope_='mmdet')).eval()
    built.init_weights()
    strides = [s[0] for s in built.prior_generator.strides]
    features = tuple(
        torch.randn(1, built.in_channels, 128 // s, 128 // s)
        for s in strides)
    with torch.no_grad():
        outputs = built(features)
    assert len(outputs) == built.plain_outputs + 3
    assert all(len(maps) == len(strides) for maps in outputs)
    probs = built.class_probabilities(*outputs)
    assert probs.shape[-1] == built.num_classes


def test_readme_and_index_name_every_config():
    ours = {n for n in os.listdir(FOLDER) if n.endswith('.py')}
    assert ours == {f'{n}.py' for n in PLAIN}
    with open(osp.join(FOLDER, 'README.md'), encoding='utf-8') as f:
        text = f.read()
    linked = {part.split(')')[0] for part in text.split('](')[1:]}
    assert all(osp.isfile(osp.join(FOLDER, path)) for path in linked)
    assert ours <= linked
    assert all(path in text for path, _ in PLAIN.values())
    with open(osp.join(FOLDER, 'metafile.yml'), encoding='utf-8') as f:
        models = yaml.safe_load(f)['Models']
    assert {f"{m['Name']}.py" for m in models} == ours
    for model in models:
        assert model['Config'] == f"configs/mdn_heads/{model['Name']}.py"
