"""Configs of other projects that inherit from mmal's."""
import pytest
from mmengine.config import Config

from mmal.engine import Settings


def test_another_project_inherits_the_defaults(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text('''
_base_ = ['mmal::_base_/active_learning.py']
active_learning = dict(
    data=dict(ann_file='pool.json'), initial=dict(size=3),
    budget=dict(size=7))
''')
    settings = Settings.from_config(Config.fromfile(str(path)))
    assert settings.budget.to_dict() == dict(size=7, unit='images')
    # what docs/choosing.md bears out
    assert settings.scorer == dict(type='mmal.RandomScorer')
    assert settings.selector == dict(type='mmal.CoreSet')
    # a scorer that is named is not ignored
    cfg = Config.fromfile(str(path))
    cfg.active_learning.scorer = dict(type='mmal.EntropyScorer')
    assert Settings.from_config(cfg).selector == dict(type='mmal.TopN')
    cfg.active_learning.selector = dict(type='mmal.RandomSubset', size=9)
    assert Settings.from_config(cfg).selector['type'] == 'mmal.RandomSubset'


def test_another_project_inherits_a_run(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text('''
_base_ = ['mmal::al/fcos_isal_digits.py']
active_learning = dict(budget=dict(size=5, unit='boxes'))
''')
    cfg = Config.fromfile(str(path))
    settings = Settings.from_config(cfg)
    assert settings.budget.to_dict() == dict(size=5, unit='boxes')
    assert settings.scorer['type'] == 'mmal.InfluenceScorer'
    assert cfg.model.backbone.type == 'mmal.EfficientNetLite'


COMPOSED = '''
_base_ = ['mmal::_base_/al_tasks/fcos-lite0_bccd.py',
          'mmal::_base_/al_methods/llal.py']
model = _base_.pop('al_method_model')
active_learning = dict(_base_.pop('al_method'), budget=dict(size=7))
'''


@pytest.fixture
def composed(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(COMPOSED)
    return path


def test_another_project_composes_a_task_and_a_method(composed, mmdet_scope):
    from mmdet.registry import MODELS
    cfg = Config.fromfile(str(composed))
    cfg.merge_from_dict({'active_learning.scorer.type': 'mmal.RandomScorer'})
    settings = Settings.from_config(cfg)
    assert settings.scorer == dict(type='mmal.RandomScorer')
    assert settings.selector == dict(type='mmal.TopN')
    assert settings.budget.to_dict() == dict(size=7, unit='images')
    assert settings.rounds == 4
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    assert type(model).__name__ == 'LearningLossDetector'


def test_a_composed_config_that_was_dumped_is_read_again(composed, tmp_path):
    from mmal.engine.fingerprint import fingerprint
    cfg = Config.fromfile(str(composed))
    cfg.dump(str(tmp_path / 'dumped.py'))
    dumped = Config.fromfile(str(tmp_path / 'dumped.py'))
    assert dumped.to_dict() == cfg.to_dict()
    assert Settings.from_config(dumped) == Settings.from_config(cfg)
    assert fingerprint(dumped) == fingerprint(cfg)
    assert not [key for key in fingerprint(cfg) if 'al_method' in key]


def test_a_method_joins_a_detector_of_ones_own(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text('''
_base_ = ['mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
          'mmal::_base_/al_protocol.py', 'mmal::_base_/al_methods/mi-max.py']
active_learning = dict(
    _base_.pop('al_method'), data=dict(ann_file='pool.json'),
    initial=dict(size=3), budget=dict(size=7))
''')
    settings = Settings.from_config(Config.fromfile(str(path)))
    assert settings.committee == dict(type='mmal.EnsembleCommittee', size=6)
    assert settings.budget.to_dict() == dict(size=7, unit='images')


@pytest.mark.parametrize('line', COMPOSED.strip().splitlines()[2:])
def test_a_method_that_has_no_effect_is_an_error(composed, line):
    key = line.partition("pop('")[2].partition("'")[0]
    composed.write_text(COMPOSED.replace(line, ''))
    cfg = Config.fromfile(str(composed))
    with pytest.raises(ValueError, match=f"add the line .*pop..{key}.. below"):
        Settings.from_config(cfg)
