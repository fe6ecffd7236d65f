"""Faster R-CNN's configs of the mixture density paper."""
import os.path as osp

import pytest
from mmengine.config import Config

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
PLAIN = 'mdn/faster-rcnn_r50_fpn_voc07'
MIXTURE = 'mdn/faster-rcnn_r50_fpn_mdn_voc07'
RUN = 'al/faster-rcnn-mdn_voc07'


def load(name):
    return Config.fromfile(osp.join(ROOT, 'configs', f'{name}.py'))


def parameters(cfg):
    from mmdet.registry import MODELS
    head = MODELS.build(cfg.model.roi_head.bbox_head)
    return sum(p.numel() for p in head.parameters())


@pytest.mark.parametrize('components', [1, 4])
@pytest.mark.parametrize('efficient', [False, True])
def test_mixtures_add_the_papers_parameters(mmdet_scope, components,
                                            efficient):
    plain, mixture = load(PLAIN), load(MIXTURE)
    head = mixture.model.roi_head.bbox_head
    head.update(box_components=components, cls_components=components)
    if efficient:
        mixture.merge_from_dict({
            'model.roi_head.bbox_head.cls_variance': False,
            'model.roi_head.bbox_head.weighting.alpha': 4
        })
    boxes = 20 * (4 * 3 * components - 4)
    groups = 1 if efficient else 2
    classes = 21 * groups * components + components - 21
    assert parameters(mixture) - parameters(plain) == 1025 * (boxes + classes)


def test_detector_builds(mmdet_scope):
    from mmdet.registry import MODELS
    cfg = load(RUN)
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    assert type(model.roi_head.bbox_head).__name__ == 'MDNShared2FCBBoxHead'
    assert model.roi_head.bbox_head.num_classes == 20


def test_only_the_box_head_differs():
    plain, mixture = load(PLAIN), load(MIXTURE)
    mixture.pop('custom_imports')
    for cfg in (plain, mixture):
        cfg.model.roi_head.pop('bbox_head')
    assert plain.to_dict() == mixture.to_dict()


@pytest.mark.parametrize('name', [PLAIN, MIXTURE, RUN])
def test_nothing_comes_from_a_host_that_is_gone(name):
    cfg = load(name)
    assert cfg.model.backbone.init_cfg == {
        'type': 'Pretrained',
        'checkpoint': 'torchvision://resnet50'
    }
    assert 'openmmlab' not in cfg.pretty_text
    assert 'open-mmlab' not in cfg.pretty_text


def test_schedule_ends_with_its_last_iteration():
    cfg = load(PLAIN)
    warmup, steps = cfg.param_scheduler
    last = cfg.train_cfg.max_iters
    assert cfg.train_cfg.val_interval == steps.end == last
    assert warmup.end < steps.milestones[-1] < last
    assert last % cfg.default_hooks.checkpoint.interval == 0


def test_run_has_the_papers_budget_and_registered_parts():
    from mmal.engine.settings import Settings
    from mmal.registry import TASK_UTILS
    settings = Settings.from_config(load(RUN))
    assert (settings.initial.size, settings.rounds) == (2000, 4)
    assert settings.budget.to_dict() == dict(size=1000, unit='images')
    assert settings.scorer['type'] == 'mmal.MixtureUncertaintyScorer'
    for part in (settings.scorer, settings.selector, settings.oracle):
        assert TASK_UTILS.get(part['type']) is not None


def test_classes_and_files_are_those_of_the_converter():
    from mmdet.datasets import VOCDataset
    cfg = load(RUN)
    files = ('voc2007_trainval', 'voc2007_test', 'voc2007_test')
    for loader, file in zip((cfg.train_dataloader, cfg.val_dataloader,
                             cfg.test_dataloader), files):
        data = loader.dataset
        assert tuple(data.metainfo.classes) == VOCDataset.METAINFO['classes']
        assert data.ann_file == f'annotations/{file}.json'
    assert cfg.active_learning.data.ann_file == \
        cfg.train_dataloader.dataset.ann_file
    assert cfg.test_evaluator[0].ann_file.endswith(f'{files[-1]}.json')
