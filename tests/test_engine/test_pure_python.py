"""Pure-python configs, and configs that cannot be read."""
from argparse import Namespace

import pytest
from helpers.tiny import tiny_coco
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.registry import MODELS, TRANSFORMS
from mmengine.config import Config
from torch import nn

from mmal.engine.cli import load_config, merge_options
from mmal.engine.plan import plan_run
from mmal.engine.pure_python import type_name, with_named_types
from mmal.scoring import EntropyScorer

TEXT = '''
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import CocoDataset
from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs, Resize
from mmdet.evaluation import CocoMetric
from mmdet.models import (CrossEntropyLoss, DetDataPreprocessor, FCOS,
                          FCOSHead, FocalLoss, FPN, GIoULoss, ResNet)
from mmengine.dataset import DefaultSampler
from mmengine.runner import EpochBasedTrainLoop, ValLoop
from torch.nn import GroupNorm, ReLU
from torch.optim import SGD

from mmal.scoring import EntropyScorer

default_scope = SCOPE
pipeline = [
    dict(type=LoadImageFromFile), dict(type=Resize, scale=(96, 96)),
    dict(type=LoadAnnotations, with_bbox=True), dict(type=PackDetInputs)]
val = dict(
    type=CocoDataset, data_root='ROOT', ann_file='val.json', test_mode=True,
    metainfo=dict(classes=('class_0', 'class_1', 'class_2')),
    data_prefix=dict(img='images/'), pipeline=pipeline)
train_dataloader = dict(
    batch_size=4, num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(val, ann_file='pool.json', test_mode=False))
val_dataloader = dict(
    batch_size=1, num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=False), dataset=val)
val_evaluator = dict(type=CocoMetric, ann_file='ROOT/val.json', metric='bbox')
train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=1)
val_cfg = dict(type=ValLoop)
optim_wrapper = dict(optimizer=dict(type=SGD, lr=0.01))
model = dict(
    type=FCOS, data_preprocessor=dict(type=DetDataPreprocessor),
    backbone=dict(
        type=ResNet, depth=18, num_stages=3, base_channels=8, stem_channels=8,
        strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(1, 2)),
    neck=dict(type=FPN, in_channels=[16, 32], out_channels=16, num_outs=2),
    bbox_head=dict(
        type=FCOSHead, num_classes=3, in_channels=16, feat_channels=16,
        stacked_convs=1, strides=(8, 16), norm_cfg=dict(
            type=GroupNorm, num_groups=4),
        regress_ranges=((-1, 32), (32, 1e8)),
        loss_cls=dict(type=FocalLoss), loss_bbox=dict(type=GIoULoss),
        loss_centerness=dict(type=CrossEntropyLoss, use_sigmoid=True)),
    test_cfg=dict(score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5),
                  nms_pre=100, max_per_img=20))
active_learning = dict(
    data=dict(ann_file='pool.json'), initial=dict(size=4), rounds=2,
    budget=dict(size=3), scorer=dict(type=EntropyScorer))
'''


def write(folder, text, scope='None'):
    path = folder / 'pure.py'
    path.write_text(text.replace('SCOPE', scope).replace(
        'ROOT', str(folder / 'data')))
    return str(path)


def load(path, **changes):
    default = dict(
        config=path, cfg_options=None, work_dir=None, seed=None, amp=False,
        launcher='none', local_rank=0)
    return load_config(Namespace(**{**default, **changes}))


@pytest.mark.parametrize('scope', ['None', "'mmdet'"])
def test_a_pure_python_config_is_planned(tmp_path, scope):
    tiny_coco(str(tmp_path / 'data'))
    path = write(tmp_path, TEXT, scope)
    cfg = load(path, seed=3, work_dir=str(tmp_path / 'work'))
    assert cfg.default_scope == 'mmdet' and cfg.filename == path
    assert cfg.model.type == 'FCOS'
    assert cfg.model.bbox_head.norm_cfg.type == 'GN'
    assert cfg.train_dataloader.dataset.pipeline[2].type == 'LoadAnnotations'
    assert cfg.active_learning.scorer.type == 'mmal.EntropyScorer'
    assert cfg.active_learning.seed == 3
    assert 'CocoDataset' not in cfg  # what is imported is no key
    plan = plan_run(cfg)
    # the same without a tool
    direct = Config.fromfile(path)
    direct.work_dir = str(tmp_path / 'work')
    direct.active_learning.seed = 3
    assert plan_run(direct) == plan
    # and what it writes is an ordinary config
    cfg.dump(str(tmp_path / 'text.py'))
    assert with_named_types(cfg) is cfg
    assert plan_run(load(str(tmp_path / 'text.py'))) == plan


@pytest.mark.parametrize('old, new, message', [
    ('train_cfg = dict(', 'train_cfg = dict(x=ReLU, ',
     r'train_cfg\.x is the class torch\.nn\..*ReLU: in a pure-python config'),
    ('from torch.optim import SGD', 'from no_module import SGD',
     r'optim_wrapper\.optimizer\.type cannot be imported: .*no_module'),
])
def test_what_cannot_be_named_is_refused(tmp_path, old, new, message):
    with pytest.raises(ValueError, match=message):
        load(write(tmp_path, TEXT.replace(old, new)))


def test_a_text_config_stays_the_same_object():
    cfg = Config(dict(model=dict(type='FCOS'), default_scope=None))
    assert with_named_types(cfg) is cfg


def test_names_find_their_classes():
    from mmcv.transforms import LoadAnnotations as OfMMCV
    assert type_name(LoadAnnotations) == 'LoadAnnotations'
    assert TRANSFORMS.get(type_name(OfMMCV)) is OfMMCV
    assert type_name(OfMMCV, 'other') == 'LoadAnnotations'
    assert type_name(EntropyScorer) == 'mmal.EntropyScorer'
    assert MODELS.get(type_name(nn.BatchNorm2d)) is nn.BatchNorm2d
    assert type_name(Namespace) == 'argparse.Namespace'

    class Local:
        """Nobody can import it."""
    assert type_name(Local) is None


@pytest.mark.parametrize('text, message', [
    ('a = dict(', r'cannot be read: .*never closed'),
    ('_base_ = "nowhere.py"', 'cannot be read: .*nowhere.py'),
    ('a = b', "cannot be read: NameError: name 'b'"),
    ('custom_imports = dict(imports=["no_module"])', 'no_module'),
    ('a = []\na.append(a)', 'cannot be read: RecursionError'),
])
def test_a_config_that_is_no_program(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as e:
        load(write(tmp_path, text))
    assert len(str(e.value)) < 1500


def test_options_that_do_not_fit():
    cfg = Config(dict(active_learning=dict(rounds=3, hooks=[1])))
    merge_options(cfg, {'active_learning.budget.size': 5})
    assert cfg.active_learning.budget.size == 5
    for key in ('active_learning.rounds.x', 'active_learning.hooks.7'):
        with pytest.raises(ValueError, match=f'{key} cannot be set to 1'):
            merge_options(cfg, {key: 1})
