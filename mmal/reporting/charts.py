"""The charts of a page, as specifications of Vega-Lite (plain dicts).

Colours of axes and texts are not in them: the page sets those by its own
theme. Names of files and classes are data alone, never field names.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any, Optional

from mmal.colours import class_colours, hexadecimal
from .curve import AXES, Curve
from .merged import MergedCurve
from .plots import COLOURS
from .pool_map import GREY
from .score_summary import ScoreSummary

Spec = dict[str, Any]

_TITLES = {'images': 'labelled images', 'boxes': 'labelled boxes',
           'hours': 'hours of labelling'}
# Beyond so many classes lines and stacks cannot be told apart.
FEW_CLASSES = 12
_HEIGHT = 280


def curve_charts(curve: Curve,
                 forecasts: Optional[Mapping[str, Mapping]] = None,
                 baseline: Optional[Mapping[str, MergedCurve]] = None
                 ) -> dict[str, Spec]:
    """The metrics of a run against images, boxes and hours.

    Args:
        curve (Curve): The run.
        forecasts (mapping[str, mapping], optional): By axis, what is to come
            of the first metric, see
            :func:`mmal.evaluation.forecast.forecast_curve`.
        baseline (mapping[str, MergedCurve], optional): Metric -> the mean
            curve of other runs, drawn dotted with a band of one standard
            deviation to either side.

    Returns:
        dict[str, dict]: By what is to the right, as far as it is known.
    """
    charts = {}
    for by, title in _TITLES.items():
        values = [
            dict(x=cost, y=record.value(name), series=name,
                 round=record.round)
            for name in curve.shown for record in curve.records
            if (cost := getattr(record, by)) is not None
            and record.value(name) is not None
        ]
        if not values:
            continue
        shown = [n for n in curve.shown if any(v['series'] == n
                                               for v in values)]
        x = _cost(title)
        y = _quantity('y', shown[0] if len(shown) == 1 else 'value')
        colour = _colour('series', shown, COLOURS)
        layers = [dict(
            data=dict(values=values),
            mark=dict(type='line', point=dict(size=55, filled=True)),
            encoding=dict(x=x, y=y, color=colour, tooltip=[
                _tip('series', 'metric'), _tip('round'),
                _tip('x', title, ',.5~r'), _tip('y', 'value', '.3f')]))]
        forecast = (forecasts or {}).get(by)
        if forecast:
            rows = [dict(zip(forecast, values)) for values in zip(
                *([float(f'{v:.4g}') for v in column]
                  for column in forecast.values()))]
            common = dict(data=dict(values=rows))
            layers[:0] = [
                *(dict(common, mark=dict(type='area', opacity=0.13,
                                         color=COLOURS[0]),
                       encoding=dict(x=x, y=_quantity(f'low{level}',
                                                      y['title']),
                                     y2=dict(field=f'high{level}')))
                  for level in (95, 80)),
                dict(common, mark=dict(type='line', strokeDash=[5, 4],
                                       color=COLOURS[0]),
                     encoding=dict(
                         x=x, y=_quantity('median', y['title']), tooltip=[
                             _tip('x', title, ',.5~r'),
                             _tip('median', 'forecast', '.3f'),
                             _tip('low80', '80%: from', '.3f'),
                             _tip('high80', 'to', '.3f'),
                             _tip('low95', '95%: from', '.3f'),
                             _tip('high95', 'to', '.3f')]))]
        layers[:0] = _baseline_layers(
            {name: baseline[name] for name in shown if name in baseline}
            if baseline else {}, by, x, y['title'], colour)
        charts[by] = dict(width='container', height=_HEIGHT, layer=layers)
    return charts


def _baseline_layers(curves: Mapping[str, MergedCurve], by: str, x: dict,
                     title: str, colour: dict) -> list[dict]:
    """Band and dotted line of each metric, behind the run's own curve."""
    rows = [dict(row, series=name) for name, curve in curves.items()
            for row in _rows_of(curve, by)]
    if not rows:
        return []
    common = dict(data=dict(values=rows))
    return [
        dict(common, mark=dict(type='area', opacity=0.14),
             encoding=dict(x=x, y=_quantity('low', title),
                           y2=dict(field='high'), color=colour)),
        dict(common, mark=dict(type='line', strokeDash=[2, 4],
                               point=dict(size=40, filled=False)),
             encoding=dict(x=x, y=_quantity('y', title), color=colour,
                           tooltip=[
                               _tip('series', 'baseline'), _tip('round'),
                               _tip('runs'), _tip('x', _TITLES[by], ',.5~r'),
                               _tip('y', 'mean', '.3f'),
                               _tip('low', '− 1 std', '.3f'),
                               _tip('high', '+ 1 std', '.3f')]))]


def _rows_of(curve: MergedCurve, by: str) -> list[dict]:
    """The rounds of a mean curve whose cost is known, with what is one
    standard deviation lower and higher; one run has none."""
    rows = []
    for merged in curve.rounds:
        cost, value = getattr(merged, by).mean, merged.value
        if cost is not None:
            std = value.std or 0.0
            rows.append(dict(
                x=cost, y=value.mean, low=value.mean - std,
                high=value.mean + std, round=merged.round, runs=value.count))
    return rows


def merged_charts(curves: Sequence[MergedCurve]) -> dict[str, Spec]:
    """Mean curves of methods; a band is one standard deviation over seeds to
    either side.

    Args:
        curves (sequence[MergedCurve]): At least one, all of one metric.

    Returns:
        dict[str, dict]: Specifications by what is to the right ('images',
        'boxes', 'hours'), as far as a method knows it.
    """
    charts = {}
    metric = curves[0].metric
    for by in AXES:
        values = [dict(row, method=curve.name) for curve in curves
                  for row in _rows_of(curve, by)]
        if not values:
            continue
        x = _cost(_TITLES[by])
        colour = _colour('method', [c.name for c in curves], COLOURS)
        charts[by] = dict(
            width='container', height=320, data=dict(values=values), layer=[
                dict(mark=dict(type='area', opacity=0.16),
                     encoding=dict(x=x, y=_quantity('low', metric),
                                   y2=dict(field='high'), color=colour)),
                dict(mark=dict(type='line', point=dict(size=55, filled=True)),
                     encoding=dict(
                         x=x, y=_quantity('y', metric), color=colour,
                         tooltip=[
                             _tip('method'), _tip('round'), _tip('runs'),
                             _tip('x', _TITLES[by], ',.5~r'),
                             _tip('y', metric, '.3f'),
                             _tip('low', '− 1 std', '.3f'),
                             _tip('high', '+ 1 std', '.3f')]))])
    return charts


def class_metric_chart(curve: Curve, classes: Sequence[str]
                       ) -> Optional[Spec]:
    """AP of each class by round; None where validation does not tell.

    mmdet's ``CocoMetric`` tells with ``classwise=True``.

    Args:
        curve (Curve): The rounds.
        classes (sequence[str]): C names, as in the keys of the metrics.

    Returns:
        dict | None: Lines; of more than ``FEW_CLASSES`` classes a field of
        colours.
    """
    values = [
        dict(round=record.round, y=value, name=name)
        for record in curve.records for name in classes
        if (value := record.metrics.get(f'coco/{name}_precision')) is not None
    ]
    return _by_class_and_round(values, classes, 'AP', '.3f') if values \
        else None


def boxes_chart(boxes_of_rounds: Sequence[Sequence[int]],
                classes: Sequence[str]) -> Optional[Spec]:
    """Labelled boxes of each class by round.

    Args:
        boxes_of_rounds (sequence[sequence[int]]): Of each round the counts of
            the C classes that are labelled by then.
        classes (sequence[str]): C names.

    Returns:
        dict | None: Stacked bars; of more than ``FEW_CLASSES`` classes a
        field of colours; None without any box.
    """
    values = [dict(round=number, y=count, name=name)
              for number, counts in enumerate(boxes_of_rounds)
              for name, count in zip(classes, counts)]
    if not any(v['y'] for v in values):
        return None
    if len(classes) > FEW_CLASSES:
        return _by_class_and_round(values, classes, 'boxes', ',')
    return dict(
        width='container', height=_HEIGHT, data=dict(values=values),
        mark=dict(type='bar', size=34),
        encoding=dict(
            x=_rounds(), y=_quantity('y', 'labelled boxes'),
            color=_class_colour(classes),
            tooltip=[_tip('name', 'class'), _tip('round'),
                     _tip('y', 'boxes', ',')]))


def _by_class_and_round(values: list[dict], classes: Sequence[str],
                        what: str, form: str) -> Spec:
    """Lines of a few classes, a field of colours of many."""
    tooltip = [_tip('name', 'class'), _tip('round'), _tip('y', what, form)]
    if len(classes) <= FEW_CLASSES:
        return dict(
            width='container', height=_HEIGHT, data=dict(values=values),
            mark=dict(type='line', point=dict(size=45, filled=True)),
            encoding=dict(x=_rounds(), y=_quantity('y', what),
                          color=_class_colour(classes), tooltip=tooltip))
    return dict(
        width='container', height=15 * len(classes), data=dict(values=values),
        mark='rect',
        encoding=dict(
            x=_rounds(),
            y=dict(field='name', type='nominal', title=None,
                   sort=list(classes), axis=dict(labelLimit=160)),
            color=dict(field='y', type='quantitative', title=what,
                       scale=dict(scheme='viridis')),
            tooltip=tooltip))


def balance_chart(shares: Mapping[str, Sequence[float]],
                  classes: Sequence[str],
                  grey: Optional[str] = None) -> Optional[Spec]:
    """Which share of the boxes is of each class, in several sets of images.

    Args:
        shares (mapping[str, sequence[float]]): Set -> counts of the C
            classes; sets without boxes are left out.
        classes (sequence[str]): C names.
        grey (str, optional): The set to draw in grey; the colours of the
            others are as if it were not there.

    Returns:
        dict | None: Bars; None without any box.
    """
    values = [
        dict(name=name, group=group, y=count / sum(counts), count=count)
        for group, counts in shares.items() if sum(counts)
        for name, count in zip(classes, counts)
    ]
    if not values:
        return None
    groups = list(dict.fromkeys(v['group'] for v in values))
    # a set that is left out gives its colour to no other
    colours = dict(zip((g for g in shares if g != grey), cycle(COLOURS)))
    is_roomy = len(classes) <= 20
    place = dict(
        y=dict(field='name', type='nominal', title=None, sort=list(classes),
               axis=dict(labelLimit=160)),
        yOffset=dict(field='group', sort=groups),
        x=_quantity('y', 'share of the boxes',
                    axis=dict(format='.0%', tickCount=6)))
    layers = [dict(
        mark=dict(type='bar'),
        encoding=dict(
            place,
            color=_colour('group', groups,
                          [colours.get(g, GREY) for g in groups]),
            tooltip=[_tip('name', 'class'), _tip('group', 'images'),
                     _tip('y', 'share', '.1%'), _tip('count', 'boxes',
                                                     ',.5~r')]))]
    if is_roomy:  # a rare class has bars that look alike
        layers.append(dict(
            mark=dict(type='text', align='left', baseline='middle', dx=4,
                      fontSize=9),
            encoding=dict(place, text=dict(field='y', type='quantitative',
                                           format='.1%'))))
    return dict(
        width='container',
        height=len(classes) * (8 + len(groups) * (12 if is_roomy else 5)),
        data=dict(values=values), layer=layers)


def score_chart(scores: ScoreSummary, name: str) -> Optional[Spec]:
    """How scores are distributed, and from where on images were chosen.

    Args:
        scores (ScoreSummary): Of one query.
        name (str): What the score is.
    """
    if not scores.edges:
        return None
    # heights grow with the square root, or few chosen among many are not seen
    values = []
    for low, high, chosen, others in zip(scores.edges, scores.edges[1:],
                                         scores.chosen, scores.others):
        for count, base, group in ((others, 0, 'not chosen'),
                                   (chosen, others, 'chosen')):
            if count:
                values.append(dict(low=low, high=high, base=base,
                                   top=base + count, count=count,
                                   group=group))
    scale = dict(type='sqrt') if max(
        v['top'] for v in values) > 30 else dict(type='linear')
    layers = [dict(
        data=dict(values=values), mark=dict(type='bar', binSpacing=1),
        encoding=dict(
            x=dict(field='low', type='quantitative', title=name,
                   bin=dict(binned=True), scale=dict(zero=False),
                   axis=dict(tickCount=8)),
            x2=dict(field='high'),
            y=_quantity('base', 'images', scale=scale,
                        axis=dict(tickCount=6)),
            y2=dict(field='top'),
            color=_colour('group', ['not chosen', 'chosen'],
                          (GREY, COLOURS[1])),
            tooltip=[_tip('group', 'images'), _tip('count', 'number', ','),
                     _tip('low', 'from', '.4~g'),
                     _tip('high', 'to', '.4~g')]))]
    if scores.cut is not None:
        cut = dict(data=dict(values=[dict(x=scores.cut, text='cut')]))
        layers += [
            dict(cut, mark=dict(type='rule', strokeDash=[4, 3],
                                strokeWidth=1.5, color=COLOURS[1]),
                 encoding=dict(x=dict(field='x', type='quantitative'),
                               tooltip=[_tip('x', 'lowest score chosen',
                                             '.4~g')])),
            dict(cut, mark=dict(type='text', align='left', dx=4, y=8,
                                color=COLOURS[1], fontWeight='bold'),
                 encoding=dict(x=dict(field='x', type='quantitative'),
                               text=dict(field='text')))]
    return dict(width='container', height=220, layer=layers)


def map_chart(points: Sequence[Mapping], axes: tuple[str, str],
              groups: Sequence[tuple[str, str]]) -> Spec:
    """Embeddings on a plane.

    Args:
        points (sequence[mapping]): ``x``, ``y``, ``group``, ``name``, and
            ``image`` of those in the gallery.
        axes (tuple[str, str]): What stands along the axes.
        groups (sequence[tuple[str, str]]): Names and colours in the order of
            the legend; the first one is that of images not chosen.
    """
    x, y = (dict(field=axis, type='quantitative',
                 title=title,
                 scale=dict(zero=False),
                 axis=dict(labels=False, ticks=False, grid=False))
            for axis, title in zip('xy', axes))
    names, colours = map(list, zip(*groups))
    is_other = f'datum.group === {names[0]!r}'
    common = dict(x=x, y=y, color=_colour('group', names, colours),
                  tooltip=[_tip('name', 'image'), _tip('group', 'when')])
    return dict(
        width='container', height=380, data=dict(values=list(points)), layer=[
            # those that were chosen lie above the others
            dict(transform=[dict(filter=is_other)],
                 mark=dict(type='point', filled=True, size=22, opacity=0.45),
                 encoding=common),
            dict(transform=[dict(filter=f'!({is_other})')],
                 mark=dict(type='point', filled=True, size=60, opacity=0.95,
                           cursor='pointer'),
                 encoding=common)])


def time_chart(curve: Curve) -> Optional[Spec]:
    """Minutes of training and of the query, by round; None without any."""
    values = [
        dict(round=record.round, minutes=seconds / 60, part=part)
        for record in curve.records
        for part, seconds in (('training', record.train_seconds),
                              ('query', record.query_seconds))
        if seconds is not None
    ]
    if not values:
        return None
    return dict(
        width='container', height=220, data=dict(values=values),
        mark=dict(type='bar', size=34),
        encoding=dict(
            x=_rounds(), y=_quantity('minutes', 'minutes'),
            color=_colour('part', ['training', 'query'], COLOURS),
            tooltip=[_tip('part'), _tip('round'),
                     _tip('minutes', 'minutes', ',.2f')]))


def _quantity(field: str, title: str, **more) -> dict:
    return dict(field=field, type='quantitative', title=title, **more)


def _cost(title: str) -> dict:
    return _quantity('x', title, scale=dict(zero=False, nice=False, padding=8),
                     axis=dict(tickCount=7, tickMinStep=1, format=',.4~g'))


def _rounds() -> dict:
    return dict(field='round', type='ordinal', title='round',
                axis=dict(labelAngle=0))


def _tip(field: str, title: Optional[str] = None,
         form: Optional[str] = None) -> dict:
    tip = dict(field=field, title=title or field)
    if form:
        tip['format'] = form
    tip['type'] = 'quantitative' if form else 'nominal'
    return tip


def _colour(field: str, domain: Sequence[str],
            colours: Sequence[str]) -> dict:
    colours = [_visible(colours[i % len(colours)])
               for i in range(len(domain))]
    return dict(field=field, type='nominal', title=None,
                scale=dict(domain=list(domain), range=colours))


def _visible(colour: str) -> str:
    # black lines cannot be seen on a dark page
    return '#8b6fd6' if colour == '#000000' else colour


def _class_colour(classes: Sequence[str]) -> dict:
    return _colour('name', classes,
                   [hexadecimal(c) for c in class_colours(len(classes))])
