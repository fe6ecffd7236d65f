"""Rules that end a run: on curves by hand, and in whole runs."""
import json

import pytest
from helpers.tiny import tiny_active_learning, tiny_config
from hypothesis import given
from hypothesis import strategies as st
from mmengine.registry import DefaultScope

from mmal.engine import ActiveLearner
from mmal.engine.settings import Settings
from mmal.engine.stopping import ExpectedGain, Plateau
from mmal.reporting import Curve, Record


def curve(values, images=None, **more):
    images = images or [20 * (n + 1) for n in range(len(values))]
    return Curve([Record(n, i, 10 * i, {'coco/bbox_mAP': value}, **more)
                  for n, (i, value) in enumerate(zip(images, values))])


@pytest.mark.parametrize('values, rounds, min_gain, stops', [
    ([.1, .2, .3], 3, .05, False),  # too few rounds to compare
    ([.1, .2, .3, .4], 3, .05, False),
    ([.4, .3, .3, .3], 3, .05, True),
    ([.1, .4, .43, .44], 2, .05, True),
    ([.1, .4, .43, .46], 2, .05, False),
    ([.1, .4, .46, .2], 2, .05, False),  # one round above is enough
    ([.4, .4], 1, 0, False),  # not less than nothing
])
def test_plateau_by_hand(values, rounds, min_gain, stops):
    rule = Plateau(rounds, min_gain)
    assert (rule.reason(curve(values)) is not None) is stops


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9), st.integers(1, 4),
       st.floats(0.001, .5))
def test_a_plateau_that_ends_a_run_would_have_ended_it_with_less_patience(
        values, rounds, min_gain):
    def stops(rounds, min_gain):
        return Plateau(rounds, min_gain).reason(curve(values)) is not None

    if stops(rounds, min_gain):
        assert stops(rounds, min_gain + .1)
        assert len(values) > rounds
        assert max(values[-rounds:]) < max(values[:-rounds]) + min_gain


def test_rounds_without_a_value_are_no_rounds():
    values = [.4, None, .4, None, .4]
    assert Plateau(3).reason(curve(values)) is None
    assert 'did not rise in the last 2 rounds' in Plateau(2).reason(
        curve(values))


def test_expected_gain_follows_the_curve():
    images = [50, 100, 200, 400, 800]
    values = [.6 - 3 * n**-.7 for n in images]
    # from 800 to 1,600 images the true curve gains 0.0107
    reason = ExpectedGain(.02, 800, 'images').reason(curve(values, images))
    assert 'AP is expected to rise by 0.01' in reason
    assert reason.endswith('less than 0.02 (mmal.ExpectedGain)')
    for less in (dict(min_gain=.005, amount=800, unit='images'),
                 dict(min_gain=.005, amount=8000, unit='boxes'),
                 dict(min_gain=.02, amount=800, unit='images', min_rounds=6)):
        assert ExpectedGain(**less).reason(curve(values, images)) is None


def test_hours_are_those_of_the_record():
    made = curve([.6 - 3 * n**-.7 for n in (50, 100, 200, 400, 800)],
                 [50, 100, 200, 400, 800])
    with pytest.raises(ValueError, match="unit='hours'.*unit='images'"):
        ExpectedGain(.02).reason(made)
    for record in made.records:
        record.hours = record.images / 100
    assert ExpectedGain(.02, 8).reason(made)
    assert not ExpectedGain(.005, 8).reason(made)


def test_a_metric_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="'mAP', but.*coco/bbox_mAP: choose"):
        Plateau(metric='mAP').reason(curve([.1]))
    assert Plateau().reason(Curve([Record(0, 1, 1)])) is None


@pytest.mark.parametrize('rule, message', [
    (dict(type='mmal.Plateau', rounds=0), 'rounds is 0'),
    (dict(type='mmal.Plateau', min_gain=-1.), 'min_gain is -1'),
    (dict(type='mmal.ExpectedGain', min_gain=0.), 'min_gain is 0'),
    (dict(type='mmal.ExpectedGain', min_gain=.1, unit='days'), "'days'"),
    (dict(type='mmal.ExpectedGain', min_gain=.1, min_rounds=2), 'min_rounds'),
])
def test_values_out_of_range_are_named_before_a_run(rule, message, tmp_path):
    cfg = tiny_config(str(tmp_path / 'data'))
    cfg.work_dir = str(tmp_path / 'work')
    cfg.active_learning = dict(tiny_active_learning(), stop=rule)
    with pytest.raises(ValueError, match=f'active_learning.stop.*{message}'):
        ActiveLearner(cfg)


@pytest.mark.parametrize('stop, message', [
    (dict(type='mmal.Plato'), r'stop.*type is .*Plato.*mmal.Plateau'),
    (dict(type='mmal.TopN'), r'stop.*TopN'),
    ([dict(type='mmal.Plateau', patience=3)], r'stop.*patience is not known'),
    (dict(type='mmal.ExpectedGain'), r'stop.*min_gain must be set'),
    (3, r'stop is 3: give a dict'),
])
def test_the_schema_names_what_is_wrong(stop, message):
    block = dict(data=dict(ann_file='a.json'), budget=dict(size=1))
    with pytest.raises(ValueError, match=message):
        Settings(**block, stop=stop)
    one = Settings(**block, stop=dict(type='mmal.Plateau'))
    assert one.stop == [dict(type='mmal.Plateau')]
    assert Settings(**block).stop == []


@pytest.mark.run
def test_a_rule_ends_a_run_which_goes_on_without_it(tmp_path, monkeypatch):
    from mmdet.evaluation import CocoMetric
    monkeypatch.setattr(CocoMetric, 'compute_metrics',
                        lambda self, results: dict(bbox_mAP=.3))

    def run(rounds, stop, resume, **costs):
        cfg = tiny_config(str(tmp_path / 'data'))
        cfg.work_dir = str(tmp_path / 'work')
        cfg.active_learning = dict(tiny_active_learning(), rounds=rounds)
        cfg.active_learning.budget.update(size=1, **costs)
        if stop:
            cfg.active_learning.stop = stop
        with DefaultScope.overwrite_default_scope('mmdet'):
            ActiveLearner(cfg, resume=resume).run()
        return [json.loads((tmp_path / 'work' / name).read_text())
                for name in ('state.json', 'curve.json')]

    stop = dict(type='mmal.Plateau', rounds=1)
    for resume in (False, True):  # again: it is still over
        state, made = run(4, stop, resume)
        assert state['stopped'] == made['stopped'] == 'rule'
        assert len(state['rounds']) == len(made['rounds']) == 2
        (note, ) = state['meta']['notes']
        assert note.startswith('round 1: AP did not rise in the last 1 round')
        assert 'mmal.Plateau' in made['note']
    report = (tmp_path / 'work' / 'report.html').read_text()
    assert 'a rule of active_learning.stop ended it' in report
    before = [r['hours'] for r in made['rounds']]
    state, made = run(3, None, True, per_image=7.8 + 3600)
    assert state['stopped'] == 'rounds' and len(made['rounds']) == 3
    # people take an hour more for an image than was thought, in all rounds
    assert [r['hours'] - r['images'] for r in made['rounds']][:2] == \
        pytest.approx(before)
    assert made['rounds'][2]['hours'] > made['rounds'][1]['hours']
