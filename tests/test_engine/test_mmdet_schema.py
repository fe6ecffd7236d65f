"""The keys of mmdet that a run reads are of the types it expects."""
import pytest
from helpers.tiny import tiny_config

from mmal.engine.mmdet_schema import check_mmdet_config

REPEATED = dict(type='RepeatDataset', times=2)


@pytest.fixture
def cfg(tmp_path):
    return tiny_config(str(tmp_path))


@pytest.mark.parametrize('change', [
    dict(),
    dict(custom_hooks=None),
    dict(val_dataloader=None, val_evaluator=None, val_cfg=None),
    dict(val_evaluator=[dict(type='CocoMetric')]),
    dict(train_cfg=dict(type='IterBasedTrainLoop', max_iters=7)),
    # numbers for keys are mmdet's business, and so is infinity
    dict(model=dict(type='FCOS', a={1: float('inf')})),
])
def test_what_mmdet_takes(cfg, change):
    for key, value in change.items():
        cfg[key] = value
    check_mmdet_config(cfg)


def test_wrapped_data_sets(cfg):
    loader = cfg.train_dataloader
    loader.dataset = dict(REPEATED, dataset=loader.dataset)
    check_mmdet_config(cfg)
    loader.dataset.dataset.data_prefix = 'images/'
    with pytest.raises(ValueError, match=r'^train_dataloader\.dataset\.dataset'
                       r"\.data_prefix is 'images/': give a dict"):
        check_mmdet_config(cfg)


@pytest.mark.parametrize('key, value, message', [
    ('model', None, 'model is None: give the detector'),
    ('model', dict(neck=None), r'model\.type must be set'),
    ('train_dataloader', [], r'train_dataloader is \[\]'),
    ('train_dataloader', dict(batch_size=2), r'dataset must be set'),
    ('train_cfg', dict(type='EpochBasedTrainLoop'),
     'train_cfg must set max_epochs or max_iters'),
    ('train_cfg', dict(max_epochs='12'),
     r"train_cfg\.max_epochs is '12': .*, without quotes"),
    ('val_evaluator', None, 'val_evaluator must be set'),
    ('val_evaluator', [dict(type='CocoMetric', ann_file=3)],
     r'^val_evaluator\.0\.ann_file is 3'),
    ('val_evaluator', dict(ann_file='a'), r'^val_evaluator\.type must be'),
    ('val_cfg', None, 'val_cfg must be set'),
    ('optim_wrapper', None, 'optim_wrapper is None'),
    ('load_from', 3, 'load_from is 3'),
    ('default_hooks', dict(checkpoint=None), r'default_hooks\.checkpoint'),
    ('custom_hooks', [dict(priority=3)], r'custom_hooks\.0\.type must be'),
])
def test_what_it_does_not_take(cfg, key, value, message):
    cfg[key] = value
    with pytest.raises(ValueError, match=message):
        check_mmdet_config(cfg)


def test_missing_keys_are_listed(cfg):
    for key in ('model', 'train_cfg', 'train_dataloader'):
        cfg.pop(key)
    with pytest.raises(ValueError, match='the config has 3 mistakes'):
        check_mmdet_config(cfg)


def test_scorers_need_a_pipeline(cfg):
    for key in ('test_dataloader', 'val_dataloader'):
        del cfg[key].dataset['pipeline']
    with pytest.raises(ValueError, match=r'test_dataloader\.dataset\.pipeline '
                       'must be set'):
        check_mmdet_config(cfg)
