"""Hours of labelling in curves, tables and pictures."""
import csv
import io

import cv2
import numpy as np
import pytest
from scipy.stats import ttest_rel

from mmal.evaluation import area_under_curve
from mmal.reporting import (
    Curve,
    MergedCurve,
    Record,
    Run,
    comparison_table,
    merged_tables,
    round_table,
    write_merged,
)

AP = 'coco/bbox_mAP'


def curve(hours, values, seed=0):
    return Run(f'run_{seed}', Curve([
        Record(r, 50 * (r + 1), 100 * (r + 1), {AP: v}, hours=h)
        for r, (h, v) in enumerate(zip(hours, values))], 'rounds'), seed)


def method(name, *runs):
    return MergedCurve(name, [curve(*run, seed=n)
                              for n, run in enumerate(runs)])


# the better one takes more hours for as many images and boxes
SLOW = method('slow', ([2., 4.5, 9.], [.1, .3, .5]), ([2., 5., 8.], [.1, .3,
                                                                     .6]))
FAST = method('fast', ([1., 2., 3.], [.1, .2, .4]), ([1., 2., 4.], [.1, .2,
                                                                    .3]))


def rows(table):
    return list(csv.DictReader(io.StringIO(table.csv())))


def test_hours_are_kept_and_shown(tmp_path):
    records = SLOW.runs[0].curve
    records.save(str(tmp_path))
    assert Curve.load(str(tmp_path)) == records
    assert records.series('hours') == ([2., 4.5, 9.], [.1, .3, .5])
    lines = round_table(records).splitlines()
    header = lines[0].split()
    assert header[:4] == ['round', 'images', 'boxes', 'hours']
    assert [line.split()[3] for line in lines[2:]] == ['2.00', '4.50', '9.00']
    # a round of an older version has none
    older = Curve([Record(0, 5, 9, {AP: .1}), records.records[1]])
    assert older.series('hours') == ([4.5], [.3])
    assert 'hours' not in older.records[0].to_dict()
    with pytest.raises(ValueError, match="'hours'.*got 'days'"):
        older.series('days')


def test_methods_are_compared_at_equal_hours():
    tables = merged_tables([SLOW, FAST], by='hours')
    assert list(tables) == [
        'methods', 'paired_hours', 'paired_boxes', 'paired_images',
        'hours_needed', 'boxes_needed', 'images_needed', 'rounds', 'runs']
    # all runs cover 2 to 3 hours
    assert '2.00–3.00 hours' in tables['methods'].title
    found = {r['method']: float(r['mean AP'])
             for r in rows(tables['methods'])}
    heights = {c.name: [area_under_curve(*c.run_series(run, 'hours'), 2, 3)
                        for run in c.runs] for c in (SLOW, FAST)}
    assert found == pytest.approx({
        name: np.mean(of) for name, of in heights.items()})
    paired = rows(tables['paired_hours'])[0]
    assert (float(paired['from']), float(paired['to'])) == (2, 3)
    assert float(paired['AP Δ']) == pytest.approx(
        np.mean(heights['slow']) - np.mean(heights['fast']))
    assert float(paired['p']) == pytest.approx(
        ttest_rel(heights['slow'], heights['fast']).pvalue)
    needed = rows(tables['hours_needed'])[0]
    # the fast one ends at .35, which the slow one reaches after
    assert float(needed['theirs']) == pytest.approx(3.5)
    assert float(needed['hours']) == pytest.approx(4.75 + 3.75 * .05 / .25)
    assert [float(r['hours']) for r in rows(tables['rounds'])] == \
        pytest.approx([2, 4.75, 8.5, 1, 2, 3.5])
    assert 'paired_hours' not in merged_tables([SLOW, FAST])
    assert '100–300 boxes' in merged_tables([SLOW, FAST])['methods'].title
    assert '50–150 images' in merged_tables(
        [SLOW, FAST], by='images')['methods'].title


def test_runs_without_hours_are_named():
    old = MergedCurve('old', [Run('run_old', Curve([
        Record(0, 5, 9, {AP: .1})]))])
    with pytest.raises(ValueError, match='run_old has rounds without hours'):
        merged_tables([SLOW, old], by='hours')
    # the others can be told all the same
    tables = merged_tables([SLOW, old])
    assert [r['hours'] for r in rows(tables['rounds'])][-1] == ''
    with pytest.raises(ValueError, match="by must be .* got 'days'"):
        merged_tables([SLOW], by='days')


def test_a_picture_against_hours(tmp_path):
    tables = merged_tables([SLOW, FAST], by='hours')
    widths = []
    for by in ('boxes', 'hours'):
        write_merged([SLOW, FAST], tables, [], str(tmp_path), by)
        picture = cv2.imread(str(tmp_path / 'curves.png'))
        widths.append(picture.shape[:2])
        text = (tmp_path / 'merged.md').read_text(encoding='utf-8')
        assert ('and by hours of labelling](curves.png)' in text) == (
            by == 'hours')
    assert widths == [(630, 1500), (630, 2250)]


@pytest.mark.parametrize('by, low, high, needed', [
    ('boxes', '100', '300', '250'), ('images', '50', '150', '125'),
    ('hours', '2.00', '3.00', '6.75')])
def test_runs_side_by_side(by, low, high, needed):
    table = ' '.join(comparison_table(
        {c.name: c.runs[0].curve for c in (SLOW, FAST)}, .4, by).split())
    words = table.split()
    assert f'{low}–{high} {by}' in table
    slow = words[words.index('slow'):words.index('fast')]
    assert slow[-1] == needed
    area = SLOW.runs[0].curve.area(by, low=float(low), high=float(high))
    assert slow[-2] == f'{area:.4f}'
