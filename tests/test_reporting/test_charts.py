"""Specifications are read by Vega-Lite itself, where it is installed."""
import re

import pytest

from mmal.reporting import Curve, MergedCurve, Record, Run
from mmal.reporting.charts import (
    FEW_CLASSES,
    balance_chart,
    boxes_chart,
    class_metric_chart,
    curve_charts,
    map_chart,
    merged_charts,
    score_chart,
    time_chart,
)
from mmal.reporting.score_summary import ScoreSummary

NAMES = ('cat & dog', "it's <b>", '"quoted"')


def curve(first=0.1, key='coco/bbox_mAP'):
    records = [Record(r, 10 * r + 10, 30 * r + 30, {
        key: first + 0.1 * r, **{f'coco/{n}_precision': 0.1 * r
                                 for n in NAMES}}, 60 + r, 5)
        for r in range(3)]
    records[1].metrics[f'coco/{NAMES[0]}_precision'] = None
    return Curve(records, 'rounds')


def many(number):
    return [f'class {i}' for i in range(number)]


def points():
    return [dict(x=0, y=1, group='not chosen', name='a'),
            dict(x=1, y=0, group="it's", name='<b>', image=3)]


FORECAST = {'images': dict(x=[30., 60], median=[.3, .4], low80=[.2, .3],
                           high80=[.4, .5], low95=[.1, .2],
                           high95=[.5, .6])}
SPECS = dict(
    curve=lambda: curve_charts(curve())['images'],
    forecast=lambda: curve_charts(curve(), FORECAST)['images'],
    merged=lambda: merged_charts([
        MergedCurve('a', [Run('a0', curve(), 0), Run('a1', curve(.2), 1)]),
        MergedCurve("b's", [Run('b0', curve(.3), 0)])])['boxes'],
    class_metric=lambda: class_metric_chart(curve(), NAMES),
    boxes=lambda: boxes_chart([[1, 2, 0], [3, 4, 5]], NAMES),
    boxes_of_many=lambda: boxes_chart(
        [range(40), range(1, 41)], many(40)),
    balance=lambda: balance_chart(
        dict(labelled=[1, 2, 3], chosen=[.5, 0, 1]), NAMES),
    scores=lambda: score_chart(ScoreSummary(
        4, 0, [0., 1., 2.], [0, 1], [50, 0], 1.5), 'influence'),
    map=lambda: map_chart(points(), ('first', "second's"),
                          [('not chosen', '#999999'), ("it's", '#0072b2')]),
    baseline=lambda: curve_charts(curve(), None, {
        'AP': MergedCurve('b', [Run('b0', curve(.1), 0),
                                Run('b1', curve(.3), 1)])})['boxes'],
    time=lambda: time_chart(curve()))


@pytest.mark.parametrize('name', SPECS)
def test_vega_lite_compiles_and_draws_it(name):
    vl_convert = pytest.importorskip('vl_convert')
    spec = dict(SPECS[name](), width=400)
    picture = vl_convert.vegalite_to_svg(spec)
    marks = set(re.findall(
        r'class="mark-(\w+) role-mark[^>]*>\s*<path [^>]*\bd="M', picture))
    assert marks and marks <= {'line', 'area', 'symbol', 'rect'}
    assert 'NaN' not in picture


def test_a_curve_has_a_point_of_each_round_and_metric():
    charts = curve_charts(curve())
    assert list(charts) == ['images', 'boxes']
    (layer, ) = charts['boxes']['layer']
    assert [(v['x'], round(v['y'], 3)) for v in layer['data']['values']] == [
        (30, .1), (60, .2), (90, .3)]
    assert curve_charts(Curve()) == {}


def test_hours_are_an_axis_where_they_are_known():
    run = curve()
    for record in run.records:
        record.hours = record.boxes / 60
    chart = curve_charts(run)['hours']
    assert [v['x'] for v in chart['layer'][0]['data']['values']] == [
        .5, 1, 1.5]


def test_a_band_is_a_deviation_to_either_side():
    chart = SPECS['merged']()
    first = [v for v in chart['data']['values'] if v['method'] == 'a'][0]
    assert first['y'] == pytest.approx(.15)
    # sample standard deviation of .1 and .2
    assert first['high'] - first['y'] == pytest.approx(.1 / 2**.5)
    assert first['y'] - first['low'] == pytest.approx(.1 / 2**.5)


def test_classes_without_a_value_are_left_out():
    values = class_metric_chart(curve(), NAMES)['data']['values']
    assert len(values) == 8
    assert class_metric_chart(curve(), ['others']) is None


def test_many_classes_become_a_field_of_colours():
    few = boxes_chart([[1] * FEW_CLASSES], many(FEW_CLASSES))
    more = boxes_chart([[1] * (FEW_CLASSES + 1)], many(FEW_CLASSES + 1))
    assert few['mark']['type'] == 'bar' and more['mark'] == 'rect'


def test_nothing_gives_no_chart():
    assert boxes_chart([[0, 0, 0]], NAMES) is None
    assert boxes_chart([], []) is None
    assert balance_chart(dict(labelled=[0, 0, 0]), NAMES) is None
    assert score_chart(ScoreSummary(3, 3), 'score') is None
    assert time_chart(Curve([Record(0, 1, 1)])) is None


def test_shares_of_a_set_sum_to_one():
    values = SPECS['balance']()['data']['values']
    for group in ('labelled', 'chosen'):
        assert sum(v['y'] for v in values if v['group'] == group) == \
            pytest.approx(1)
