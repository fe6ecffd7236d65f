import os.path as osp

import pytest
from mmengine.config import Config

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
COCO = {
    'fcos_isal_coco': (5000, 30, 1000, {
        'metric': 'coco/bbox_mAP',
        'value': 0.22
    }),
    'fcos_random_coco': (5000, 30, 1000, {
        'metric': 'coco/bbox_mAP',
        'value': 0.22
    }),
    'fcos_isal_coco-large-scale': (11829, 10, 11829, None),
}
VOC = {'fcos_isal_voc2012': (500, 10, 500, None)}
ALL = {**COCO, **VOC}


def load(name):
    return Config.fromfile(osp.join(ROOT, 'configs', 'al', f'{name}.py'))


@pytest.mark.parametrize('name', ALL)
def test_settings_are_the_papers(name):
    cfg = load(name)
    block = cfg.active_learning
    initial, rounds, size, target = ALL[name]
    assert block.initial.size == initial and block.rounds == rounds
    assert block.budget == {'size': size, 'unit': 'images'}
    assert block.get('target') == target
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.momentum,
            optimizer.weight_decay) == (0.01, 0.9, 1e-4)
    assert cfg.train_cfg.max_epochs == 12
    steps = [s for s in cfg.param_scheduler if s.type == 'MultiStepLR']
    assert steps[0].milestones == [8, 11] and steps[0].gamma == 0.1
    assert cfg.auto_scale_lr == {'enable': True, 'base_batch_size': 8}


@pytest.mark.parametrize('name', ALL)
def test_weights_and_their_normalisation_are_torchvisions(name):
    cfg = load(name)
    backbone, norm = cfg.model.backbone, cfg.model.data_preprocessor
    assert backbone.init_cfg == {
        'type': 'Pretrained',
        'checkpoint': 'torchvision://resnet50'
    }
    assert backbone.style == 'pytorch'
    assert norm.mean == [123.675, 116.28, 103.53]
    assert norm.std == [58.395, 57.12, 57.375] and norm.bgr_to_rgb
    assert 'openmmlab' not in cfg.pretty_text
    assert 'open-mmlab' not in cfg.pretty_text


@pytest.mark.parametrize('name', ALL)
def test_block_is_accepted_and_its_parts_are_registered(name):
    from mmal.engine.settings import Settings
    from mmal.registry import TASK_UTILS
    settings = Settings.from_config(load(name))
    for part in (settings.scorer, settings.selector, settings.oracle):
        assert TASK_UTILS.get(part['type']) is not None


def test_random_has_nothing_of_isal_but_its_settings():
    isal, rand = load('fcos_isal_coco'), load('fcos_random_coco')
    assert rand.active_learning.scorer == {'type': 'mmal.RandomScorer'}
    isal.active_learning.pop('scorer')
    rand.active_learning.pop('scorer')
    assert isal.to_dict() == rand.to_dict()


def test_large_scale_ends_with_all_images():
    block = load('fcos_isal_coco-large-scale').active_learning
    before_last = block.initial.size + 8 * block.budget.size
    assert before_last < 118287 <= before_last + block.budget.size


@pytest.mark.parametrize('name, classes', [('fcos_isal_coco', 80),
                                           ('fcos_isal_voc2012', 20)])
def test_detector_builds_and_has_the_layers(name, classes):
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    register_all_modules()
    cfg = load(name)
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    assert model.bbox_head.num_classes == classes
    modules = dict(model.named_modules())
    layers = cfg.active_learning.scorer.layers
    assert len(layers) == 3 and all(layer in modules for layer in layers)


def test_voc_classes_are_those_of_the_converter():
    from mmdet.datasets import VOCDataset
    cfg = load('fcos_isal_voc2012')
    for loader in (cfg.train_dataloader, cfg.val_dataloader,
                   cfg.test_dataloader):
        classes = loader.dataset.metainfo.classes
        assert tuple(classes) == VOCDataset.METAINFO['classes']
    assert cfg.test_evaluator[0].ann_file.endswith('voc2012_val.json')
