"""Configs of classifiers: the paper's settings, and what differs."""
import copy
import functools
import glob
import os.path as osp

import pytest
import torch
import yaml
from mmengine.config import Config

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
FOLDER = osp.join(ROOT, 'configs', 'classification')
NAMES = sorted(osp.basename(p)[:-3]
               for p in glob.glob(osp.join(FOLDER, '*.py')))
ACTIVE = [n for n in NAMES if n.startswith('resnet18')]
DATA = ('cifar10', 'cifar100', 'svhn', 'cifar10-large-scale', 'digits')


@functools.cache
def _read(name):
    return Config.fromfile(osp.join(FOLDER, f'{name}.py'))


def load(name):
    return copy.deepcopy(_read(name))


def build(name):
    from mmdet.registry import MODELS
    with torch.device('meta'):
        return MODELS.build(load(name).model)


@pytest.mark.parametrize('name', NAMES)
def test_model_and_data_fit(mmdet_scope, name):
    cfg, model = load(name), build(name)
    assert model.cls_head.num_classes == len(
        cfg.train_dataloader.dataset.metainfo.classes) == len(
            cfg.val_dataloader.dataset.metainfo.classes)
    with torch.device('meta'):
        logits = model.eval()(torch.zeros(2, 3, 32, 32))
    assert logits.shape == (2, model.cls_head.num_classes)
    assert cfg.val_dataloader.dataset.ann_file == 'val.json'


@pytest.mark.parametrize('name', ACTIVE)
def test_block_is_accepted_and_its_parts_are_built(name):
    from mmal.engine.build import build
    from mmal.engine.settings import Settings
    cfg = load(name)
    settings = Settings.from_config(cfg)
    for part in ('scorer', 'selector'):
        build(settings, part)
    assert cfg.active_learning.prepare_data.root == \
        cfg.train_dataloader.dataset.data_root


@pytest.mark.parametrize('data, first, each', [
    ('cifar10', 1000, 1000), ('cifar100', 5000, 1000), ('svhn', 1465, 1465),
    ('cifar10-large-scale', 5000, 5000)])
@pytest.mark.parametrize('method', ['random', 'isal', 'core-set', 'llal'])
def test_settings_of_section_4_1(method, data, first, each):
    cfg = load(f'resnet18_{method}_{data}')
    block = cfg.active_learning
    assert (block.initial.size, block.budget.size) == (first, each)
    assert block.budget.unit == 'images' and block.rounds == 10
    assert cfg.train_cfg.max_epochs == 200
    assert cfg.param_scheduler[0].milestones == [160]
    assert cfg.train_dataloader.batch_size == 128
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (
        0.1, 0.9, 5e-4)
    steps = [s.type for s in cfg.train_dataloader.dataset.pipeline]
    assert steps[2:4] == ['mmal.PaddedCrop', 'RandomFlip']


@pytest.mark.parametrize('data', DATA)
@pytest.mark.parametrize('method', ['isal', 'core-set', 'llal'])
def test_methods_differ_from_random_by_their_method_alone(method, data):
    ours = load(f'resnet18_{method}_{data}').to_dict()
    theirs = load(f'resnet18_random_{data}').to_dict()
    for cfg in ours, theirs:
        for part in ('scorer', 'selector'):
            cfg['active_learning'].pop(part)
    if method == 'llal':
        ours['model'].pop('loss_head')
        assert ours['model'].pop('type') == 'mmal.LearningLossClassifier'
        theirs['model'].pop('type')
        for cfg in ours, theirs:
            hooks = cfg.pop('custom_hooks', [])
            cfg['hooks'] = [h['type'] for h in hooks
                            if h['type'] != 'mmal.LossHeadDetachHook']
    assert ours == theirs


@pytest.mark.parametrize('data', ['cifar10', 'digits'])
@pytest.mark.parametrize('row, scorer', [
    ('gradient-similarity', dict(solver=dict(type='mmal.Identity'))),
    ('isal-top2', dict(top_k=2)), ('isal-top5', dict(top_k=5)),
    ('isal-top10', dict(top_k=10)),
    ('isal-initial', dict(reference='initial')),
    ('isal-labelled', dict(reference='labelled'))])
def test_rows_of_tables_1_to_3_differ_from_isal_by_what_they_vary(
        row, scorer, data):
    isal, ours = (load(f'resnet18_{name}_{data}').to_dict()
                  for name in ('isal', row))
    isal['active_learning']['scorer'].update(scorer)
    if data == 'digits':  # no query has so many labelled ones
        for cfg in isal, ours:
            cfg['active_learning']['scorer'].pop('hessian_images', None)
    assert ours == isal


@pytest.mark.parametrize('data', DATA)
def test_learning_loss_reads_every_block(mmdet_scope, data):
    model = build(f'resnet18_llal_{data}')
    with torch.device('meta'):
        found = model.eval().predict_losses(torch.zeros(3, 3, 32, 32))
    assert found.shape == (3, )


def test_rows_of_convbayes_differ_by_the_head_alone(mmdet_scope):
    base = load('resnet50_cifar10').to_dict()
    rows = {}
    for row in ('', '-sigmoid', '-focal', '-anchor', '-convbayes',
                '-convbayes-no-rescaling'):
        cfg = load(f'resnet50{row}_cifar10').to_dict()
        cfg['model'].pop('cls_head')
        rows[row] = build(f'resnet50{row}_cifar10').cls_head
        plain = copy.deepcopy(base)
        plain['model'].pop('cls_head')
        assert cfg == plain
    losses = {k: type(v.loss_cls).__name__ for k, v in rows.items()}
    assert losses == {
        '': 'CrossEntropyLoss', '-sigmoid': 'CrossEntropyLoss',
        '-focal': 'FocalLoss', '-anchor': 'AnchorLoss',
        '-convbayes': 'UncertaintyRescaledLoss',
        '-convbayes-no-rescaling': 'CrossEntropyLoss'}
    # "CE" alone is a softmax: an uncertainty is that of a yes or no
    assert [k for k, v in rows.items() if not v.use_sigmoid] == ['']


@pytest.mark.parametrize('row, truth', [
    ('', lambda z, y: -z.log_softmax(1)[range(len(y)), y]),
    ('-sigmoid', lambda z, y: -torch.where(
        torch.nn.functional.one_hot(y, 10) > 0, z.sigmoid(),
        (-z).sigmoid()).log().sum(1))])
def test_cross_entropy_of_convbayes_rows(mmdet_scope, row, truth):
    """Of a softmax, and of the yes or no of each class."""
    from mmdet.registry import MODELS
    head = MODELS.build(load(f'resnet50{row}_cifar10').model.cls_head)
    logits, labels = torch.randn(6, 10), torch.arange(6)
    loss = head.loss_by_feat(logits, labels)['loss_cls']
    torch.testing.assert_close(loss, truth(logits, labels).mean())


def test_every_config_is_in_the_metafile_and_the_readme():
    with open(osp.join(FOLDER, 'metafile.yml'), encoding='utf-8') as f:
        models = yaml.safe_load(f)['Models']
    assert sorted(m['Name'] for m in models) == NAMES
    assert all(osp.exists(osp.join(ROOT, m['Config'])) for m in models)
    with open(osp.join(FOLDER, 'README.md'), encoding='utf-8') as f:
        text = f.read()
    assert all(f'({name}.py)' in text for name in NAMES)
