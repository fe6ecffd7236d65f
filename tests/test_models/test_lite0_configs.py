import os.path as osp

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmal.datasets import make_digits

BASE = osp.join(osp.dirname(__file__), '..', '..', 'configs', '_base_')


def _config(name):
    return Config.fromfile(osp.join(BASE, name))


def _detector(name, num_classes):
    from mmdet.registry import MODELS
    cfg = _config(f'models/{name}.py').model
    cfg.bbox_head.num_classes = num_classes
    cfg.backbone.init_cfg = None
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MODELS.build(cfg)


@pytest.mark.parametrize('name,shape', [
    ('fcos_efficientnet-lite0_fpn', (256, 320)),
    ('fcos_efficientnet-lite0_fpn_s8-16', (128, 128))])
def test_detector_has_losses_at_all_its_strides(mmdet_scope, name, shape):
    from mmdet.structures import DetDataSample
    model = _detector(name, 4).train()
    images = torch.randn(2, 3, *shape, generator=torch.manual_seed(0))
    samples = []
    for boxes in ([[8., 8., 30., 34.], [40., 20., 110., 100.]], []):
        sample = DetDataSample(metainfo=dict(img_shape=shape))
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor(boxes).reshape(-1, 4),
            labels=torch.arange(len(boxes)))
        samples.append(sample)
    levels = model.extract_feat(images)
    strides = model.bbox_head.strides
    assert [shape[0] // x.shape[2] for x in levels] == list(strides)
    losses = model.loss(images, samples)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    idle = [name for name, p in model.named_parameters()
            if p.requires_grad and p.grad is None]
    assert not idle


@pytest.mark.parametrize('name', ['400i', 'bccd', 'voc07mini'])
def test_schedule_ends_with_its_last_iteration(name):
    cfg = _config(f'schedules/schedule_{name}.py')
    last = cfg.train_cfg.max_iters
    assert cfg.train_cfg.val_interval == last
    warmup, cosine = cfg.param_scheduler
    assert warmup.end == cosine.begin
    assert cosine.end == cosine.begin + cosine.T_max == last


def _built(cfg, loader):
    from mmdet.registry import DATASETS
    return DATASETS.build(cfg[loader].dataset)


def test_digits_are_read_and_never_mirrored(mmdet_scope, tmp_path):
    pytest.importorskip('sklearn')
    root = make_digits(str(tmp_path / 'digits'), pool=4, val=2)
    cfg = _config('datasets/digits_detection.py')
    assert not any('Flip' in step.type
                   for step in cfg.train_dataloader.dataset.pipeline)
    for loader, number in (('train_dataloader', 4), ('val_dataloader', 2)):
        cfg[loader].dataset.data_root = root
        dataset = _built(cfg, loader)
        assert len(dataset) == number
        for i in range(number):
            sample = dataset[i]
            boxes = sample['data_samples'].gt_instances.bboxes.tensor
            assert len(boxes) > 0 and boxes.min() >= 0 and boxes.max() <= 161
            assert sample['inputs'].shape[1:] <= (128, 128)


@pytest.mark.parametrize('name,pool,val,classes,crowd', [
    ('bccd', 292, 72, 3, 0), ('voc07mini', 2000, 1000, 20, 1198)])
def test_real_photos_are_found_by_the_environment(
        mmdet_scope, photos, name, pool, val, classes, crowd):
    cfg = _config(f'datasets/{name}_detection.py')
    assert cfg.data_root.startswith(photos)
    evaluator = cfg.val_evaluator
    coco = evaluator if isinstance(evaluator, dict) else evaluator[0]
    assert osp.exists(coco.ann_file)
    train, test = _built(cfg, 'train_dataloader'), _built(cfg,
                                                          'val_dataloader')
    assert (len(train), len(test)) == (pool, val)
    assert len(train.metainfo['classes']) == classes
    ignored = sum(box['ignore_flag'] for i in range(pool)
                  for box in train.get_data_info(i)['instances'])
    assert ignored == crowd
    assert max(train[0]['inputs'].shape) <= 320


@pytest.mark.parametrize('name', [
    'fcos_efficientnet-lite0_fpn', 'fcos_efficientnet-lite0_fpn_s8-16'
])
def test_no_side_of_a_box_begins_at_the_clamp(mmdet_scope, name):
    """Where it would have no gradient."""
    model = _detector(name, 3)
    model.init_weights()
    with torch.no_grad():
        outputs = model.bbox_head(
            model.extract_feat(torch.randn(2, 3, 128, 128)))
    for distances in outputs[1]:
        assert distances.min() > 0
    assert torch.sigmoid(model.bbox_head.conv_cls.bias).allclose(
        torch.tensor(0.01))
