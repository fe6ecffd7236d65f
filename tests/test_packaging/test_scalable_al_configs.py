"""Configs of "Scalable Active Learning for Object Detection"."""
import copy
import functools
import os
import os.path as osp

import pytest
import torch
import yaml
from mmengine.config import Config

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
FOLDER = osp.join(ROOT, 'configs', 'al')
AL = 'active_learning.'


def scorer(kind, **options):
    return {f'{AL}scorer.type': f'mmal.{kind}',
            **{f'{AL}scorer.{k}': v for k, v in options.items()}}


def selector(kind, **options):
    return {f'{AL}selector.type': f'mmal.{kind}',
            **{f'{AL}selector.{k}': v for k, v in options.items()}}


def ensemble(size):
    return {f'{AL}committee.type': 'mmal.EnsembleCommittee',
            f'{AL}committee.size': size}


MI_MAX = {**scorer('MutualInformationScorer', aggregation='max',
                   classes='separate'), **ensemble(6)}
SMALL = {f'{AL}budget.size': 1400}
VGG = {f'{AL}embedder.{k}': v for k, v in {
    'type': 'mmal.EmbeddingModel', 'backbone.type': 'mmdet.SSDVGG',
    'backbone.depth': 16, 'backbone.out_feature_indices': (29, ),
    'backbone.init_cfg.type': 'Pretrained',
    'backbone.init_cfg.checkpoint': 'torchvision://vgg16'}.items()}
LOOP = {f'{AL}rounds': 4}
AB = {f'{AL}initial.size': 35000, f'{AL}budget.size': 800}
# what a run has that the one with random images has not
COCO = {
    # table I
    'mi-max_coco': MI_MAX,
    'mi-avg_coco': {**MI_MAX, f'{AL}scorer.aggregation': 'mean'},
    'entropy-max_coco': {**MI_MAX, f'{AL}scorer.type': 'mmal.EntropyScorer'},
    'entropy-avg_coco': {**MI_MAX, f'{AL}scorer.type': 'mmal.EntropyScorer',
                         f'{AL}scorer.aggregation': 'mean'},
    'grad-max_coco': {**scorer('GradScorer', aggregation='max'),
                      **ensemble(6)},
    'grad-avg_coco': {**scorer('GradScorer', aggregation='mean'),
                      **ensemble(6)},
    'det-ent-max_coco': scorer('DetectionEntropyScorer', aggregation='max'),
    'det-ent-sum_coco': scorer('DetectionEntropyScorer', aggregation='sum'),
    'mc-dropout_coco': {
        **scorer('MutualInformationScorer', aggregation='max',
                 classes='separate'),
        'model.neck.type': 'mmal.DropoutFPN',
        'model.neck.dropout': 0.1,
        f'{AL}committee.type': 'mmal.DropoutCommittee',
        f'{AL}committee.passes': 25},
    # table II
    'mi-max-top-third_coco': {**MI_MAX, **selector('TopThird')},
    'mi-max-top-bottom_coco': {**MI_MAX, **selector('TopBottom')},
    'mi-max-bottom_coco': {**MI_MAX, **selector('BottomN')},
    # table III
    'random_coco-small': SMALL,
    'mi-max_coco-small': {**MI_MAX, **SMALL},
    'k-means_coco-small': {**MI_MAX, **SMALL, **selector('KMeansPlusPlus')},
    **{f'sparse-{d}_coco-small': {
        **MI_MAX, **SMALL, **selector('SparseModeling', distance=d)}
       for d in ('euclidean', 'cosine')},
    **{f'core-set-{d}_coco-small': {
        **MI_MAX, **SMALL, **selector('CoreSet', weighted=True, distance=d)}
       for d in ('euclidean', 'cosine')},
    # table IV
    'random_coco-loop': LOOP,
    'mi-max_coco-loop': {**MI_MAX, **LOOP},
    'mi-max-all_coco-loop': {
        **MI_MAX, **LOOP, f'{AL}candidates': 'all',
        f'{AL}budget.repeats': 'counted'},
    'random_coco-full': {f'{AL}initial.size': 118287, f'{AL}rounds': 1},
    # table V
    'random_coco-ab': AB,
    'mi-max-round-robin_coco-ab': {
        **AB, **MI_MAX, **ensemble(8),
        **selector('RoundRobin', classes=['person', 'bicycle']),
        f'{AL}selector.selector.type': 'mmal.TopN'},
}
COCO.update({
    f'{name}-vgg_coco-small': {**COCO[f'{name}_coco-small'], **VGG}
    for name in ('k-means', 'sparse-euclidean', 'sparse-cosine',
                 'core-set-euclidean', 'core-set-cosine')})
DIGITS = {
    'mi-ensemble_digits': {**MI_MAX, **ensemble(3)},
    'core-set_digits': selector('CoreSet'),
    'entropy_digits': scorer('EntropyScorer', classes='separate'),
    'entropy-all_digits': {
        **scorer('EntropyScorer', classes='separate'),
        f'{AL}candidates': 'all'},
}
RUNS = [
    *(('retinanet_random_coco', f'retinanet_{n}', d)
      for n, d in COCO.items()),
    *(('fcos_random_digits', f'fcos_{n}', d) for n, d in DIGITS.items())
]
ALL = ['retinanet_random_coco', *(name for _, name, _ in RUNS)]


@functools.cache
def _read(name):
    return Config.fromfile(osp.join(FOLDER, f'{name}.py'))


def load(name):
    return copy.deepcopy(_read(name))


def flat(value, prefix=''):
    """All leaves of nested dicts by their dotted keys."""
    if not isinstance(value, dict):
        return {prefix[:-1]: value}
    leaves = {}
    for name, part in value.items():
        leaves.update(flat(part, f'{prefix}{name}.'))
    return leaves


def plain(value):
    """Without the scopes that mmengine puts into ``mmdet::`` bases."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k != '_scope_'}
    return list(map(plain, value)) if isinstance(value, list) else value


@functools.cache
def build(neck):
    """RetinaNet without memory for its weights."""
    from mmdet.registry import MODELS
    cfg = load(f'retinanet_{"mc-dropout" if neck else "random"}_coco').model
    cfg.backbone.init_cfg = None
    with torch.device('meta'):
        return MODELS.build(cfg).eval().to('meta')


@pytest.mark.parametrize('base, name, expected', RUNS)
def test_run_differs_from_random_by_its_method_alone(base, name, expected):
    ours, theirs = (flat(_read(n).to_dict()) for n in (name, base))
    assert {k: v for k, v in ours.items()
            if k not in theirs or theirs[k] != v} == expected
    assert set(theirs) <= set(ours)


@pytest.mark.parametrize('name', ALL)
def test_block_is_accepted_and_its_parts_are_built(name):
    from mmal.engine.settings import Settings, pool_dataset
    from mmal.registry import TASK_UTILS
    cfg = load(name)
    settings = Settings.from_config(cfg)
    for part in (settings.scorer, settings.selector, settings.oracle,
                 settings.committee):
        assert part is None or TASK_UTILS.get(part['type']) is not None
    for part in (settings.scorer, settings.selector, settings.committee,
                 settings.embedder):
        if part is not None:
            TASK_UTILS.build(part)
    if 'digits' not in name:
        data = cfg.train_dataloader.dataset
        assert pool_dataset(cfg, settings)['ann_file'] == \
            data.data_root + data.ann_file
        assert settings.data.source


@pytest.mark.parametrize('name', COCO)
def test_scorer_and_committee_suit_each_other_and_the_detector(
        mmdet_scope, name):
    from mmal.engine.query_checks import check_committee
    from mmal.registry import TASK_UTILS
    block = load(f'retinanet_{name}').active_learning
    committee = block.get('committee') and TASK_UTILS.build(block.committee)
    check_committee(TASK_UTILS.build(block.scorer), committee,
                    build(name == 'mc-dropout_coco'))


def test_budgets_are_the_papers_parts_of_the_data():
    """Section IV-A: 100,000 and 200,000 of 847,000 images."""
    block = _read('retinanet_random_coco').active_learning
    for size, theirs in ((block.initial['size'], 100), (block.budget.size,
                                                        200)):
        assert size / 118287 == pytest.approx(theirs / 847, rel=.01)
    assert block.rounds == 2
    # section V: 19,000 of 2 million others than the 850,000
    block = _read('retinanet_random_coco-ab').active_learning
    for size, theirs in ((block.initial['size'], 850), (block.budget.size,
                                                        19)):
        assert size / 118287 == pytest.approx(theirs / 2850, rel=.02)


def test_classes_of_interest_are_those_of_the_data():
    from mmdet.datasets import CocoDataset

    from mmal.registry import TASK_UTILS
    cfg = load('retinanet_mi-max-round-robin_coco-ab')
    selector = TASK_UTILS.build(cfg.active_learning.selector)
    selector.check_classes(CocoDataset.METAINFO['classes'])


def test_detector_and_schedule_are_mmdets():
    import mmdet
    theirs = Config.fromfile(osp.join(
        osp.dirname(mmdet.__file__), '.mim', 'configs', 'retinanet',
        'retinanet_r50_fpn_1x_coco.py'))
    ours = _read('retinanet_random_coco')
    base = flat(plain(theirs.to_dict()))
    new = {k: v for k, v in flat(plain(ours.to_dict())).items()
           if k not in base or base[k] != v}
    evaluators = {
        f'{split}_evaluator.{k}': v for split in ('val', 'test')
        for k, v in (('type', 'mmal.SizeWeightedCocoMetric'),
                     ('classwise', True))}
    added = (AL, 'custom_imports')
    assert {k: v for k, v in new.items() if not k.startswith(added)} == {
        'auto_scale_lr.enable': True, 'train_cfg.val_interval': 12,
        'default_hooks.checkpoint.max_keep_ckpts': 1, **evaluators}
    assert ours.model.backbone.init_cfg['checkpoint'] == \
        'torchvision://resnet50'
    text = str(ours.to_dict())
    assert 'openmmlab' not in text and 'open-mmlab' not in text


def test_metric_is_built_from_the_config(tmp_path, mmdet_scope):
    from mmdet.registry import METRICS

    from mmal.evaluation.size_weighted_coco_metric import (
        SizeWeightedCocoMetric,
    )
    cfg = dict(load('retinanet_random_coco').val_evaluator, ann_file=None)
    assert isinstance(METRICS.build(cfg), SizeWeightedCocoMetric)


def test_dropout_changes_no_parameter(mmdet_scope):
    shapes = [{k: v.shape for k, v in build(neck).state_dict().items()}
              for neck in (True, False)]
    assert shapes[0] == shapes[1]


def test_index_and_readme_name_every_config():
    with open(osp.join(FOLDER, 'metafile.yml'), encoding='utf-8') as f:
        index = yaml.safe_load(f)
    named = {m['Name'] for m in index['Models']
             if m['In Collection'] == 'Scalable AL'}
    assert named == set(ALL)
    readme = osp.join(ROOT, 'configs', 'scalable_al', 'README.md')
    with open(readme, encoding='utf-8') as f:
        linked = {part.split(')')[0] for part in f.read().split('](')[1:]}
    for path in linked:
        assert osp.isfile(osp.join(osp.dirname(readme), path)), path
    assert {f'../al/{name}.py' for name in ALL} <= linked
    assert {n[:-3] for n in os.listdir(FOLDER)
            if n.startswith('retinanet_')} <= set(ALL)
