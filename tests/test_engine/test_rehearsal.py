"""What a dry run finds before anything is trained, and leaves alone."""
import os

import pytest
from helpers.tiny import (
    tiny_active_learning,
    tiny_config,
    tiny_fcos_config,
)
from helpers.tiny_faster_rcnn import tiny_faster_rcnn_config
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from mmal.engine.inputs import read_inputs
from mmal.engine.plan import plan_run
from mmal.engine.rehearsal import rehearse


@pytest.fixture(autouse=True)
def keep_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = str(tmp_path_factory.mktemp('data'))
    tiny_config(root)
    return root


def config(data, tmp_path, **block):
    cfg = tiny_config(data)
    cfg.work_dir = str(tmp_path / 'work')
    cfg.active_learning = tiny_active_learning(**block)
    return Config(cfg.to_dict())


@pytest.mark.parametrize('block', [
    dict(),
    dict(selector=dict(type='mmal.CoreSet'),
         scorer=dict(type='mmal.EntropyScorer')),
    dict(scorer=dict(type='mmal.InfluenceScorer', empty='background')),
    dict(scorer=dict(type='mmal.MutualInformationScorer'),
         committee=dict(type='mmal.EnsembleCommittee', size=3)),
    dict(candidates='all', scorer=dict(type='mmal.DetectionEntropyScorer')),
], ids=lambda b: b.get('scorer', {}).get('type', 'default'))
def test_a_round_is_tried_and_nothing_left(data, tmp_path, block, capfd):
    inputs = read_inputs(config(data, tmp_path, **block))
    before = [dict(kind._instance_dict)
              for kind in (MMLogger, MessageHub, Visualizer)]
    files = sorted(os.listdir(data))
    rehearse(inputs)
    shown = capfd.readouterr().err
    for step in ('training data', 'initial weights', 'validation', 'query'):
        assert f'{step} …' in shown
    assert not os.path.exists(tmp_path / 'work')
    assert sorted(os.listdir(data)) == files
    assert before == [dict(kind._instance_dict)
                      for kind in (MMLogger, MessageHub, Visualizer)]


PPAL = dict(type='mmal.DifficultyCalibratedScorer', max_detections=0)


@pytest.mark.parametrize('detector', [
    tiny_fcos_config, tiny_faster_rcnn_config])
def test_what_hooks_give_a_detector_is_there(data, tmp_path, detector):
    cfg = config(data, tmp_path, scorer=PPAL)
    cfg.model = detector()
    cfg.custom_hooks = [dict(type='mmal.ClassDifficultyHook')]
    rehearse(read_inputs(cfg))


def test_a_two_stage_detector_without_its_hook_is_named(data, tmp_path):
    cfg = config(data, tmp_path, scorer=PPAL)
    cfg.model = tiny_faster_rcnn_config()
    with pytest.raises(ValueError, match='the query .*ClassDifficultyHook'):
        rehearse(read_inputs(cfg))


def visualizer(cfg):
    cfg.visualizer.vis_backends = [dict(type='TensorboardVisBackend')]


def evaluator(cfg):
    del cfg.val_evaluator['ann_file']


def pipeline(cfg):
    cfg.train_dataloader.dataset.pipeline.append(dict(type='NoTransform'))


def weights(cfg):
    cfg.model.backbone.init_cfg = dict(
        type='Pretrained', checkpoint='nowhere.pth')


def sampler(cfg):
    cfg.train_dataloader.sampler = dict(type='NoSampler')


@pytest.mark.parametrize('change, message', [
    (visualizer, 'trying the runner failed.*tensorboard'),
    (evaluator, 'trying validation failed.*ground truth is required'),
    (pipeline, 'trying the training data failed.*NoTransform'),
    (weights, r'trying the model and its initial weights.*nowhere\.pth'),
    (sampler, 'trying the training data failed.*NoSampler'),
])
def test_what_would_break_a_round_is_named(data, tmp_path, change, message):
    cfg = config(data, tmp_path)
    change(cfg)
    with pytest.raises(ValueError, match=message):
        plan_run(cfg)
    assert not os.path.exists(tmp_path / 'work')


def test_nobody_is_asked_for_labels(data, tmp_path):
    cfg = config(data, tmp_path, oracle=dict(type='mmal.ManualOracle'))
    assert '4' in plan_run(cfg)
    assert not os.path.exists(tmp_path / 'work')


def test_a_dry_run_makes_no_data(data, tmp_path):
    root = str(tmp_path / 'digits')
    cfg = config(data, tmp_path, prepare_data=dict(
        type='mmal.make_digits', root=root))
    cfg.active_learning.data = dict(ann_file='pool.json', data_root=root)
    with pytest.raises(FileNotFoundError, match='prepare_data.*dry run'):
        plan_run(cfg)
    assert not os.path.exists(root)
