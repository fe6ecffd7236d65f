"""Runs on images with a class: the same learner, another data set."""
import json
import os

import pytest
from helpers.tiny import tiny_active_learning
from helpers.tiny_classifier import tiny_classification
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope

from mmal.engine import ActiveLearner
from mmal.engine.hooks import LossHeadDetachHook
from mmal.engine.inputs import read_inputs

LLAL = dict(type='mmal.LearningLossClassifier',
            loss_head=dict(in_channels=[4, 8, 16]))
BAYES = dict(
    type='mmal.BayesClsHead',
    loss_cls=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True))
METHODS = {
    'random': (dict(), {}),
    'isal': (dict(scorer=dict(type='mmal.InfluenceScorer')), {}),
    'core-set': (dict(selector=dict(type='mmal.CoreSet')), {}),
    'llal': (dict(scorer=dict(type='mmal.LearningLossScorer'),
                  selector=dict(type='mmal.RandomSubset', size=6)),
             dict(model=LLAL)),
    'convbayes': (dict(scorer=dict(type='mmal.InfluenceScorer')),
                  dict(model=dict(cls_head=BAYES))),
}


@pytest.fixture(autouse=True)
def keep_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def config(tmp_path, block, changes) -> Config:
    root = tmp_path / 'data'
    root.mkdir()
    cfg = tiny_classification(str(root))
    cfg.work_dir = str(tmp_path / 'work')
    cfg.active_learning = tiny_active_learning(
        score_dataloader=dict(batch_size=4, num_workers=0), **block)
    cfg.merge_from_dict(changes)
    return cfg


def read(tmp_path, *names):
    with open(os.path.join(str(tmp_path), 'work', *names)) as f:
        return json.load(f)


@pytest.mark.run
@pytest.mark.parametrize('method', METHODS)
def test_a_run_goes_from_labels_to_report(method, tmp_path):
    report = ActiveLearner(config(tmp_path, *METHODS[method])).run()
    rounds = read(tmp_path, 'curve.json')['rounds']
    assert [(r['images'], r['boxes']) for r in rounds] == [(4, 4), (7, 7)]
    assert all(0 <= r['metrics']['accuracy/top1'] <= 1 for r in rounds)
    labelled = read(tmp_path, 'round_01', 'labelled.json')
    assert len(labelled['annotations']) == 7
    assert len(read(tmp_path, 'round_00', 'selected.json')['ids']) == 3
    with open(report) as f:
        assert 'accuracy' in f.read()


def test_a_head_of_other_classes_is_refused(tmp_path):
    cfg = config(tmp_path, {}, dict(model=dict(cls_head=dict(num_classes=4))))
    with pytest.raises(ValueError, match='model.cls_head.num_classes is 4'):
        read_inputs(cfg)


class _Watch(Hook):
    """Notes whether the head is detached, epoch by epoch."""

    priority = 'LOWEST'

    def __init__(self):
        self.seen = []

    def before_train_epoch(self, runner):
        self.seen.append(runner.model.loss_head.detach)


def runner_of(cfg, tmp_path):
    from mmengine.runner import Runner
    cfg.pop('active_learning')
    cfg.experiment_name = str(tmp_path)
    return Runner.from_cfg(cfg)


@pytest.mark.run
def test_the_loss_head_is_detached_after_its_epochs(tmp_path):
    runner = runner_of(config(tmp_path, {}, dict(model=LLAL)), tmp_path)
    watch = _Watch()
    runner.register_hook(LossHeadDetachHook(epoch=1))
    runner.register_hook(watch)
    runner.train()
    assert watch.seen == [False, True]


def test_the_hook_names_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match='epoch is -1'):
        LossHeadDetachHook(epoch=-1)
    runner = runner_of(config(tmp_path, {}, {}), tmp_path)
    with pytest.raises(ValueError, match='has no loss_head'):
        LossHeadDetachHook(1).before_train(runner)
