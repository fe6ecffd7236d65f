"""Configs of the convBayes slides: the table's detectors and runs."""
import functools
import os
import os.path as osp

import pytest
import torch
import yaml
from mmengine.config import Config

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
HEAD = 'model.bbox_head.'
CONF = f'{HEAD}loss_conf.'
BAYES = {f'{HEAD}type': 'mmal.BayesYOLOV3Head'}
FOCAL = {f'{CONF}type': 'FocalLoss', f'{CONF}gamma': 2.0,
         f'{CONF}alpha': 0.25}
ANCHOR = {f'{CONF}type': 'mmal.AnchorLoss', f'{CONF}gamma': 0.5,
          f'{CONF}slack': 0.05, f'{CONF}objectness': True}
# what a row of the slides' table has that the baseline has not
ROWS = {
    '-focal': FOCAL,
    '-anchor': ANCHOR,
    '-convbayes': BAYES,
    '-convbayes-no-rescaling': {**BAYES, f'{HEAD}branch.rescale': False},
    '-conv': {**BAYES, f'{HEAD}branch.rescale': False,
              f'{HEAD}branch.bayes': False},
}
LARGE = [f'yolov3_d53{row}_voc0712' for row in ('', *ROWS)]
STAND_INS = ['yolov3_r50_voc0712', 'yolov3_r50-convbayes_voc0712']
SMALL = [f'yolov3-lite0{row}_{data}' for data in ('bccd', 'neudet')
         for row in ('', *list(ROWS)[:3])]
CLASSES = dict(bccd=3, neudet=6, voc0712=20)
RUNS = {'yolov3-convbayes_bald_voc0712': 'yolov3_d53-convbayes_voc0712',
        'yolov3-lite0-convbayes_bald_bccd': 'yolov3-lite0-convbayes_bccd'}


@functools.cache
def read(name, folder='convbayes'):
    return Config.fromfile(osp.join(ROOT, 'configs', folder, f'{name}.py'))


def flat(value, prefix=''):
    """All leaves of nested dicts by their dotted keys."""
    if not isinstance(value, dict):
        return {prefix[:-1]: value}
    return {k: v for key, part in value.items()
            for k, v in flat(part, f'{prefix}{key}.').items()}


def difference(ours, theirs):
    """The leaves that one config has alone, and those it lost."""
    ours, theirs = flat(ours.to_dict()), flat(theirs.to_dict())
    new = {k: v for k, v in ours.items()
           if k not in theirs or theirs[k] != v}
    return new, set(theirs) - set(ours)


def build(name, folder='convbayes'):
    """The detector without pretrained weights."""
    from mmdet.registry import MODELS
    cfg = read(name, folder).copy().model
    cfg.backbone.pop('init_cfg', None)
    return MODELS.build(cfg)


@pytest.mark.parametrize('stem, data, rows', [
    ('yolov3_d53', 'voc0712', list(ROWS)),
    ('yolov3_r50', 'voc0712', ['-convbayes']),
    ('yolov3-lite0', 'bccd', list(ROWS)[:3]),
    ('yolov3-lite0', 'neudet', list(ROWS)[:3])])
def test_a_row_differs_from_the_baseline_by_its_method_alone(
        stem, data, rows):
    base = read(f'{stem}_{data}')
    for row in rows:
        found, lost = difference(read(f'{stem}{row}_{data}'), base)
        assert (found, lost) == (ROWS[row], set())


def test_the_detector_is_mmdets():
    import mmdet
    theirs = Config.fromfile(osp.join(
        osp.dirname(mmdet.__file__), '.mim', 'configs', 'yolo',
        'yolov3_d53_8xb8-ms-608-273e_coco.py'))
    base = read('yolov3_d53_voc0712')
    found, lost = difference(base.model, theirs.model)
    assert found == {'bbox_head.num_classes': 20,
                     'data_preprocessor.pad_size_divisor': 608}
    assert {k.split('.')[-1] for k in lost} == {'type', 'checkpoint'}
    assert all(k.startswith('backbone.init_cfg.') for k in lost)
    pipeline = [dict(step) for step in theirs.train_pipeline]
    for step in pipeline:
        step.pop('backend_args', None)
    # the slides name distortion, crops and flips: mmdet's without Expand
    assert pipeline.pop(2)['type'] == 'Expand'
    assert pipeline[3].pop('type') == 'RandomResize'
    ours = [dict(step) for step in base.train_dataloader.dataset.pipeline]
    assert ours.pop(3) == dict(
        type='Resize', scale=(608, 608), keep_ratio=True)
    assert ours == pipeline[:3] + pipeline[4:]
    assert base.optim_wrapper == theirs.optim_wrapper
    assert base.auto_scale_lr.base_batch_size == 64
    assert base.train_dataloader.batch_size == \
        theirs.train_dataloader.batch_size == 8


def test_the_stand_in_starts_from_imagenet_and_is_else_the_same(mmdet_scope):
    found, lost = difference(*map(read, (STAND_INS[0], LARGE[0])))
    assert {k.split('.')[1] for k in (*found, *lost)} == {
        'data_preprocessor', 'backbone', 'neck'}
    backbone = read(STAND_INS[0]).model.backbone
    assert backbone.init_cfg.checkpoint == 'torchvision://resnet50'
    with torch.device('meta'):
        model = build(STAND_INS[0]).train()
        maps = model.neck(model.backbone(torch.zeros(1, 3, 64, 64)))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (512, 2, 2), (256, 4, 4), (128, 8, 8)]
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize('name', LARGE)
def test_nothing_is_downloaded_and_the_data_are_the_slides(name):
    cfg = read(name)
    assert 'open-mmlab' not in str(cfg.to_dict())
    assert 'init_cfg' not in cfg.model.backbone
    data = cfg.train_dataloader.dataset
    assert data.ann_file == 'annotations/voc0712_trainval.json'
    for part in (cfg.val_dataloader, cfg.test_dataloader):
        assert part.dataset.ann_file == 'annotations/voc2007_test.json'
        assert part.dataset.pipeline[1] == {
            'type': 'Resize', 'scale': (608, 608), 'keep_ratio': True}
    assert cfg.train_dataloader.sampler == {
        'type': 'DefaultSampler', 'shuffle': True}
    steps = cfg.param_scheduler[1]
    # 50,200 batches of 64 of 16,551 photos, steps after 40,000 and 45,000
    for epochs, batches in zip((cfg.max_epochs, *steps.milestones),
                               (50200, 40000, 45000)):
        assert abs(epochs * 16551 / 64 - batches) < 16551 / 64
    assert [h.type for h in cfg.custom_hooks] == [
        'NumClassCheckHook', 'CheckInvalidLossHook']


@pytest.mark.parametrize('name', [*LARGE, *STAND_INS, *SMALL])
def test_a_detector_is_built_and_has_a_branch_if_its_row_has(
        mmdet_scope, name):
    with torch.device('cpu' if 'lite0' in name else 'meta'):
        model = build(name)
    assert model.bbox_head.num_classes == CLASSES[name.split('_')[-1]]
    extra = [k for k in model.state_dict() if '.branch.' in k]
    assert bool(extra) == ('-conv' in name)


def sample(classes):
    """An image of 96 x 96 with two objects."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData
    found = DetDataSample(metainfo=dict(
        img_shape=(96, 96), ori_shape=(96, 96), pad_shape=(96, 96),
        batch_input_shape=(96, 96), scale_factor=(1.0, 1.0)))
    found.gt_instances = InstanceData(
        bboxes=torch.tensor([[10., 10., 60., 55.], [50., 40., 71., 60.]]),
        labels=torch.tensor([0, classes - 1]))
    return found


@pytest.mark.parametrize('name', [*LARGE, *STAND_INS, *SMALL])
def test_heads_learn_and_detect(mmdet_scope, name):
    """The heads alone, on narrow features."""
    from mmdet.registry import MODELS
    cfg = read(name).copy().model
    channels = [8, 8, 8]
    head = MODELS.build(dict(
        cfg.bbox_head, in_channels=channels, out_channels=channels,
        train_cfg=cfg.train_cfg, test_cfg=cfg.test_cfg))
    torch.manual_seed(0)
    head.init_weights()
    feats = [torch.randn(1, 8, 96 // s, 96 // s) for s in (32, 16, 8)]
    losses = head.train().loss(feats, [sample(head.num_classes)])
    total = sum(sum(v) for name, v in losses.items() if 'loss' in name)
    total.backward()
    assert torch.isfinite(total) and total > 0
    assert all(p.grad is not None and torch.isfinite(p.grad).all()
               for p in head.parameters())
    assert ('loss_branch' in losses) == ('-conv' in name)
    found = head.eval().predict(feats, [sample(head.num_classes)])
    assert len(found) == 1


def test_the_slides_input_is_608_with_zeros_below_and_right(mmdet_scope):
    cfg = read('yolov3_d53_voc0712').model.data_preprocessor
    from mmdet.registry import MODELS
    prepare = MODELS.build(cfg)
    from mmdet.structures import DetDataSample
    image = torch.full((3, 405, 608), 255, dtype=torch.uint8)
    batch = prepare(dict(
        inputs=[image], data_samples=[DetDataSample(metainfo=dict(
            img_shape=(405, 608)))]))
    assert batch['inputs'].shape == (1, 3, 608, 608)
    assert (batch['inputs'][:, :, :405] == 1).all()
    assert (batch['inputs'][:, :, 405:] == 0).all()


def test_small_anchors_fit_the_cells_of_bccd():
    """Red cells of 40 to 64 px, white ones of 60 to 128, platelets of 20."""
    sizes = read('yolov3-lite0_bccd').model.bbox_head.anchor_generator
    areas = [[w * h for w, h in level] for level in sizes.base_sizes]
    flat_areas = [a for level in reversed(areas) for a in level]
    assert flat_areas == sorted(flat_areas)
    assert 18**2 < flat_areas[0] < 22**2 and 100**2 < flat_areas[-1] < 115**2


@pytest.mark.parametrize('run, detector', RUNS.items())
def test_a_run_trains_the_detector_of_the_table(mmdet_scope, run, detector):
    from mmal.engine.settings import Settings
    from mmal.registry import TASK_UTILS
    cfg = read(run, 'al')
    found, lost = difference(cfg, read(detector))
    assert not lost
    assert all(k.startswith('active_learning.') for k in found)
    settings = Settings.from_config(cfg)
    scorer = TASK_UTILS.build(settings.scorer)
    assert type(scorer).__name__ == 'BALDScorer'
    if 'lite0' in run:
        scorer.check(build(run, 'al').eval(), None)


def test_every_config_is_in_the_metafile_and_the_readme():
    folder = osp.join(ROOT, 'configs', 'convbayes')
    names = {n for n in os.listdir(folder) if n.endswith('.py')}
    assert names == {f'{n}.py' for n in (*LARGE, *STAND_INS, *SMALL)}
    with open(osp.join(folder, 'metafile.yml'), encoding='utf-8') as f:
        models = yaml.safe_load(f)['Models']
    assert {osp.basename(m['Config']) for m in models} == names
    assert len(models) == len(names)
    with open(osp.join(folder, 'README.md'), encoding='utf-8') as f:
        linked = {p.split(')')[0] for p in f.read().split('](')[1:]}
    assert names | {f'../al/{run}.py' for run in RUNS} <= linked
    assert all(osp.isfile(osp.join(folder, p)) for p in linked)
