"""Configs of ISAL's rivals: equal to random images but for the method."""
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
FRCNN = ('rpn_head.rpn_cls', 'rpn_head.rpn_reg',
         'roi_head.bbox_head.fc_cls', 'roi_head.bbox_head.fc_reg')
# detector, data and the last convolution of a tower
FCOS = [('fcos', 'coco', 3), ('fcos', 'coco-large-scale', 3),
        ('fcos', 'voc2012', 3), ('fcos', 'digits', 1),
        ('fcos-lite0', 'bccd', 1), ('fcos-lite0', 'voc07mini', 1)]
METHODS = ('core-set-towers', 'llal', 'localization-stability')


def rival(method, last):
    """What a run has that the one with random images has not."""
    return {
        'core-set-towers': {
            f'{AL}selector.type': 'mmal.CoreSet',
            f'{AL}embedder.type': 'mmal.LayerEmbedder',
            f'{AL}embedder.layers': (f'bbox_head.cls_convs.{last}',
                                     f'bbox_head.reg_convs.{last}')},
        'llal': {'model.type': 'mmal.LearningLossDetector',
                 f'{AL}scorer.type': 'mmal.LearningLossScorer'},
        'localization-stability': {
            f'{AL}scorer.type': 'mmal.LocalizationStabilityScorer'},
    }[method]


RUNS = [(f'{det}_random_{data}', f'{det}_{method}_{data}',
         rival(method, last))
        for det, data, last in FCOS for method in METHODS]
RUNS.append(('faster-rcnn_random_coco',
             'faster-rcnn_localization-stability_coco',
             rival('localization-stability', 0)))
DETECTORS = [(det, data) for det, data, _ in FCOS] + [('faster-rcnn', 'coco')]
VARIANTS = ('isal-calibrated-per-cost', 'isal-image-normalizer',
            'isal-oracle-per-cost')
# scorer and selector of methods on gradient embeddings
ON_GRADIENTS = {
    'badge': ({}, 'KMeansPlusPlus'),
    'core-set-gradients': ({}, 'CoreSet'),
    'gradient-matching': (dict(reference='val'), 'GradientMatching'),
    'isal-batch': (dict(reference='val',
                        solver=dict(type='mmal.DefaultSolver')),
                   'BatchInfluence')}
SMALL = [('fcos', 'digits'), ('fcos-lite0', 'bccd'), ('fcos-lite0', 'neudet')]
REFERENCES = ('initial', 'labelled')  # ISAL_v2 and ISAL_v3
ALL = [*(name for _, name, _ in RUNS), *(
    f'{det}_{method}_{data}' for det, data in DETECTORS
    for method in ('isal', 'random', 'gradient-similarity')), *(
        f'fcos_isal-{reference}_digits' for reference in REFERENCES), *(
            f'{det}_{method}_{data}'
            for det, data in SMALL for method in (*VARIANTS, *ON_GRADIENTS)),
       'fcos-lite0_isal_neudet', 'fcos-lite0_random_neudet']


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


def build(name):
    """The detector, without memory for the weights of a ResNet."""
    from mmdet.registry import MODELS
    cfg = load(name).model
    cfg.backbone.init_cfg = None
    large = cfg.backbone.type == 'ResNet'
    with torch.device('meta' if large else 'cpu'):
        return MODELS.build(cfg)


@pytest.mark.parametrize('base, name, expected', RUNS)
def test_rivals_differ_from_random_by_their_method_alone(
        base, name, expected):
    ours, theirs = (flat(_read(n).to_dict()) for n in (name, base))
    assert {k: v for k, v in ours.items()
            if k not in theirs or theirs[k] != v} == expected
    assert set(theirs) <= set(ours)


@pytest.mark.parametrize('det, data', DETECTORS)
def test_isal_random_and_gradient_similarity_differ_by_the_scorer(det, data):
    isal, random, gradient = (
        load(f'{det}_{m}_{data}').to_dict()
        for m in ('isal', 'random', 'gradient-similarity'))
    ours = gradient['active_learning']['scorer']
    theirs = isal['active_learning']['scorer']
    assert ours.pop('solver') == dict(type='mmal.Identity')
    # what it does not need
    for key in ('solver', 'hessian_positions'):
        theirs.pop(key, None)
    assert ours == theirs and ours['type'] == 'mmal.InfluenceScorer'
    assert random['active_learning']['scorer'] == dict(
        type='mmal.RandomScorer')
    for cfg in isal, random, gradient:
        cfg['active_learning'].pop('scorer')
    assert isal == random == gradient


@pytest.mark.parametrize('reference', REFERENCES)
def test_versions_of_isal_differ_by_the_reference_set_alone(reference):
    base, ours = (flat(_read(name).to_dict()) for name in (
        'fcos_isal_digits', f'fcos_isal-{reference}_digits'))
    assert ours == {**base, f'{AL}scorer.reference': reference}


@pytest.mark.parametrize('name', ALL)
def test_block_is_accepted_and_its_parts_are_built(name):
    from mmal.engine.build import build
    from mmal.engine.settings import Settings
    settings = Settings.from_config(load(name))
    for part in ('scorer', 'selector', 'embedder'):
        if getattr(settings, part) is not None:
            build(settings, part)


@pytest.mark.parametrize('method', VARIANTS)
@pytest.mark.parametrize('det, data', SMALL)
def test_variants_differ_in_the_scorer_alone(det, data, method):
    mine, plain = (load(f'{det}_{name}_{data}') for name in (method, 'isal'))
    scorer = mine.active_learning.pop('scorer')
    plain.active_learning.pop('scorer')
    assert mine.to_dict() == plain.to_dict()
    if 'oracle' in method:
        assert scorer.scorer.ann_file == mine.data_root + 'pool.json'


@pytest.mark.parametrize('method', ON_GRADIENTS)
@pytest.mark.parametrize('det, data', SMALL)
def test_methods_on_gradients_differ_in_scorer_and_selector_alone(
        det, data, method):
    mine, plain = (load(f'{det}_{name}_{data}') for name in (method, 'random'))
    block = mine.active_learning
    options, selector = ON_GRADIENTS[method]
    assert block.pop('scorer').to_dict() == dict(
        options, type='mmal.GradientEmbeddingScorer')
    assert block.pop('selector').type == f'mmal.{selector}'
    for key in ('scorer', 'selector'):
        plain.active_learning.pop(key)
    assert mine.to_dict() == plain.to_dict()


@pytest.mark.parametrize('det, data, last', FCOS)
def test_towers_end_at_the_layers_named(mmdet_scope, det, data, last):
    name = f'{det}_core-set-towers_{data}'
    head = build(name).bbox_head
    for tower in head.cls_convs, head.reg_convs:
        assert len(tower) == last + 1


@pytest.mark.parametrize('det, data, maps', [
    ('fcos', 'coco', 5), ('fcos', 'voc2012', 5), ('fcos', 'digits', 2),
    ('fcos-lite0', 'bccd', 4), ('fcos-lite0', 'voc07mini', 4)])
def test_learning_loss_reads_all_maps_and_lets_no_gradient_through(
        mmdet_scope, det, data, maps):
    model = build(f'{det}_llal_{data}')
    assert len(model.loss_head.in_channels) == maps
    assert model.loss_head.detach is True
    assert model.loss_head.loss_rank.loss_weight == 1
    plain = build(f'{det}_random_{data}')
    assert set(plain.state_dict()) <= set(model.state_dict())


def test_faster_rcnn_has_the_papers_settings(mmdet_scope):
    cfg = load('faster-rcnn_isal_coco')
    block, fcos = cfg.active_learning, load('fcos_isal_coco')
    assert block.scorer.layers == FRCNN and block.scorer.hessian_images == 500
    assert set(FRCNN) <= {n for n, _ in build(
        'faster-rcnn_isal_coco').named_modules()}
    for key in 'initial', 'rounds', 'target', 'budget', 'data':
        assert block[key] == fcos.active_learning[key]
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.momentum,
            optimizer.weight_decay) == (0.01, 0.9, 1e-4)
    assert cfg.train_cfg.max_epochs == cfg.train_cfg.val_interval == 12
    assert cfg.param_scheduler[1].milestones == [8, 11]
    assert cfg.auto_scale_lr == fcos.auto_scale_lr
    assert cfg.train_dataloader.batch_size == 2
    assert cfg.model.backbone.init_cfg.checkpoint == 'torchvision://resnet50'
    assert 'openmmlab' not in cfg.pretty_text
    assert 'open-mmlab' not in cfg.pretty_text


def test_index_and_readme_name_every_config():
    with open(osp.join(FOLDER, 'metafile.yml'), encoding='utf-8') as f:
        index = yaml.safe_load(f)
    named = [m['Name'] for m in index['Models']
             if m['In Collection'] == 'ISAL']
    assert sorted(named) == sorted(ALL)
    for model in index['Models']:
        assert osp.isfile(osp.join(ROOT, model['Config']))
    readme = osp.join(ROOT, 'configs', 'isal', 'README.md')
    with open(readme, encoding='utf-8') as f:
        linked = {part.split(')')[0].split('#')[0]
                  for part in f.read().split('](')[1:]}
    for path in linked:
        assert osp.isfile(osp.join(osp.dirname(readme), path)), path
    assert {f'../al/{name}.py' for name in ALL} <= linked
    methods = (*METHODS, 'gradient-similarity', 'isal', 'isal-initial',
               'isal-labelled', *VARIANTS, *ON_GRADIENTS)
    fcos = {n[:-3] for n in os.listdir(FOLDER)
            if n.startswith(('fcos', 'faster-rcnn_')) and
            n.split('_')[1] in methods}
    assert fcos <= set(ALL)
