"""Configs of other projects that inherit from mmal's."""
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
    assert settings.budget == dict(size=7, unit='images')
    assert settings.scorer == dict(type='mmal.RandomScorer')


def test_another_project_inherits_a_run(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text('''
_base_ = ['mmal::al/fcos_isal_digits.py']
active_learning = dict(budget=dict(size=5, unit='boxes'))
''')
    cfg = Config.fromfile(str(path))
    settings = Settings.from_config(cfg)
    assert settings.budget == dict(size=5, unit='boxes')
    assert settings.scorer['type'] == 'mmal.InfluenceScorer'
    assert cfg.model.backbone.type == 'mmal.EfficientNetLite'
