import pickle
from argparse import Namespace

import pytest
from mmengine.config import Config

from mmal.engine.cli import move_data, prepare_config
from mmal.pool import LabelsPending, UnreadableImage, UnreadableImagesError


def config():
    return Config(
        dict(
            data_root='data/bccd/',
            train_dataloader=dict(
                dataset=dict(data_root='data/bccd/', ann_file='pool.json')),
            val_evaluator=[dict(ann_file='data/bccd/val.json')],
            optim_wrapper=dict(type='OptimWrapper'),
            active_learning=dict(seed=0)))


def args(**changes):
    default = dict(
        config='configs/al/some.py', cfg_options=None, work_dir=None,
        seed=None, amp=False, launcher='none', local_rank=0)
    return Namespace(**{**default, **changes})


def test_data_root_moves_everything_under_it():
    cfg = config()
    prepare_config(cfg, args(cfg_options=['data_root=/photos']))
    assert cfg.data_root == '/photos'
    assert cfg.train_dataloader.dataset.data_root == '/photos/'
    assert cfg.train_dataloader.dataset.ann_file == 'pool.json'
    assert cfg.val_evaluator[0].ann_file == '/photos/val.json'


def test_config_without_data_root():
    with pytest.raises(ValueError, match='has none at its top level'):
        move_data(Config(dict(a=1)), '/photos')


def test_work_dir_seed_and_launcher():
    cfg = config()
    prepare_config(cfg, args(seed=7, launcher='pytorch'))
    assert cfg.work_dir == 'work_dirs/some'
    assert cfg.active_learning.seed == 7
    assert cfg.launcher == 'pytorch'
    prepare_config(cfg, args(work_dir='/elsewhere'))
    assert cfg.work_dir == '/elsewhere'


def test_amp(monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    with pytest.raises(ValueError, match='--amp needs a GPU'):
        prepare_config(config(), args(amp=True))
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    cfg = config()
    prepare_config(cfg, args(amp=True))
    assert cfg.optim_wrapper == dict(
        type='AmpOptimWrapper', loss_scale='dynamic')


def test_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(LabelsPending('label these', [1, 2])))
    assert str(error) == 'label these' and error.ids == [1, 2]
    bad = UnreadableImage(1, 'a.png', '/x/a.png', 'it is truncated')
    error = pickle.loads(pickle.dumps(UnreadableImagesError([bad])))
    assert error.images == [bad] and 'a.png' in str(error)
