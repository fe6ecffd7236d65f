import csv
import io
from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.stats import ttest_rel
from test_merged import A, B, merged, run

from mmal.colours import class_colours, hexadecimal
from mmal.reporting import (
    NumberTable,
    draw_merged,
    merged_tables,
    write_merged,
)

WORSE = merged('worse', run('w_0', [100, 200, 400], [.1, .2, .3], 0),
               run('w_1', [100, 220, 440], [.1, .3, .3], 1))
BETTER = merged('better', A, B)


def rows(table):
    """Rows of the csv as dicts."""
    return list(csv.DictReader(io.StringIO(table.csv())))


def test_number_table_rounds_for_readers_only():
    table = NumberTable.make('T', {'a': 0, 'b': 1, 'c': 3}, [
        ('x', 1234.56, 1 / 3), (1234, None, 'never')])
    assert table.rows == (('x', '1,234.6', '0.333'), ('1,234', '–', 'never'))
    assert table.csv().splitlines() == [
        'a,b,c', 'x,1234.56,0.3333333333', '1234,,never']
    assert '| 1,234 | – | never |' in table.markdown()


def test_savings_of_every_two_methods():
    tables = merged_tables([BETTER, WORSE])
    assert list(tables) == [
        'methods', 'paired_boxes', 'paired_images', 'boxes_needed',
        'images_needed', 'rounds', 'runs']
    better, worse = rows(tables['boxes_needed'])
    assert (better['method'], better['against']) == ('better', 'worse')
    assert float(better['AP']) == pytest.approx(.3)
    assert float(better['boxes']) == pytest.approx(220)
    assert float(better['theirs']) == pytest.approx(420)
    assert float(better['saving %']) == pytest.approx(100 * 200 / 420)
    # seed 0: 200 against 400; seed 1: 240 against 220, where it first was
    single = [50, 100 * (1 - 240 / 220)]
    assert float(better['per seed %']) == pytest.approx(np.mean(single))
    assert float(better['±']) == pytest.approx(np.std(single, ddof=1))
    assert better['seeds'] == '2 of 2'
    assert worse['boxes'] == 'never' and worse['saving %'] == ''
    assert worse['seeds'] == '0 of 2'
    text = tables['boxes_needed'].text()
    assert 'never' in text and max(map(len, text.splitlines())) <= 100


def test_differences_are_those_of_seeds_at_the_costs_of_the_last_method():
    tables = merged_tables([BETTER, WORSE])
    # the runs cover 110 to 300 boxes; the rounds of the worse one are at 100,
    # 210 and 420 boxes, and the last cost that all cover counts too
    found = rows(tables['paired_boxes'])
    assert [(r['method'], r['against'], r['from'], r['to'], r['seeds'])
            for r in found] == [
        ('better', 'worse', '110', '300', '2'),
        ('better', 'worse', '210', '210', '2'),
        ('better', 'worse', '300', '300', '2')]
    for row in found:
        low, high = float(row['from']), float(row['to'])
        ours, theirs = ([r.curve.area(low=low, high=high) for r in c.runs]
                        for c in (BETTER, WORSE))
        truth = ttest_rel(ours, theirs)
        low, high = truth.confidence_interval()
        assert float(row['AP Δ']) == pytest.approx(
            np.mean(ours) - np.mean(theirs))
        assert float(row['±']) == pytest.approx(
            np.std(np.subtract(ours, theirs), ddof=1))
        assert float(row['p']) == pytest.approx(truth.pvalue)
        assert (float(row['low']), float(row['high'])) == pytest.approx(
            (low, high))
    assert [r['from'] for r in rows(tables['paired_images'])] == [
        '50', '50', '100', '150']
    text = tables['paired_boxes'].text()
    assert 'equal boxes' in text and max(map(len, text.splitlines())) <= 100


def test_pairs_are_shown_once_and_against_one_method_if_wanted():
    third = merged('third', run('t_0', [100, 300], [.1, .2], 0))
    pairs = {name: [(r['method'], r['against'], r['from'] == r['to'])
                    for r in rows(merged_tables(
                        [BETTER, WORSE, third], **narrowed)['paired_boxes'])]
             for name, narrowed in {
                 'all': {}, 'against': dict(against='better'),
                 'method': dict(method='worse'),
                 'both': dict(method='third', against='worse')}.items()}
    assert list(dict.fromkeys(pairs['all'])) == [
        ('better', 'worse', False), ('better', 'third', False),
        ('better', 'third', True), ('worse', 'third', False),
        ('worse', 'third', True)]
    assert list(dict.fromkeys(pairs['against'])) == [
        (name, 'better', single) for name in ('worse', 'third')
        for single in (False, True)]
    assert list(dict.fromkeys(p[:2] for p in pairs['method'])) == [
        ('worse', 'better'), ('worse', 'third')]
    assert {p[:2] for p in pairs['both']} == {('third', 'worse')}
    tables = merged_tables([BETTER, WORSE, third], against='worse')
    assert {r['against'] for r in rows(tables['boxes_needed'])} == {'worse'}
    with pytest.raises(ValueError, match='no method fourth'):
        merged_tables([BETTER, WORSE], against='fourth')


def test_one_common_seed_has_no_interval_and_none_no_row():
    one = merged('one', run('o_1', [100, 300], [.1, .2], 1))
    row = rows(merged_tables([BETTER, one])['paired_boxes'])[0]
    assert float(row['AP Δ']) == pytest.approx(
        B.curve.area(low=110, high=300) - one.area(110, 300).mean)
    assert [row[k] for k in ('±', 'low', 'high', 'p', 'seeds')] == [
        '', '', '', '', '1']
    single = merged('first round', run('f_1', [100], [.1], 1))
    row, = rows(merged_tables([BETTER, single])['paired_images'])
    assert (row['from'], row['to']) == ('50', '50')
    none = merged('none', run('n', [100, 300], [.1, .2]))
    assert not {'paired_boxes', 'paired_images'} & set(
        merged_tables([BETTER, none]))


def test_target_and_method_narrow_the_savings():
    tables = merged_tables([BETTER, WORSE], target=.25, method='worse')
    row, = rows(tables['images_needed'])
    assert (row['method'], row['AP']) == ('worse', '0.25')
    assert float(row['images']) == 100
    assert 'images needed to reach AP 0.25' in tables['images_needed'].text()
    with pytest.raises(ValueError, match='no method isal .* better, worse'):
        merged_tables([BETTER, WORSE], method='isal')


def test_the_other_tables_hold_the_numbers():
    tables = merged_tables([BETTER, WORSE])
    first, second = rows(tables['methods'])
    assert 'over 110–300 boxes' in tables['methods'].title
    assert float(first['AP']) == BETTER.last.value.mean
    assert float(second['boxes ±']) == pytest.approx(np.sqrt(800))
    assert float(first['mean AP']) == pytest.approx(
        BETTER.area(110, 300).mean)
    found = rows(tables['rounds'])
    assert len(found) == 6 and found[4]['round'] == '1'
    assert float(found[4]['AP ±']) == pytest.approx(np.std([.2, .3], ddof=1))
    assert [r['run'] for r in rows(tables['runs'])] == [
        'a_0', 'a_1', 'w_0', 'w_1']


def test_one_method_and_no_boxes_in_common():
    assert list(merged_tables([BETTER])) == ['methods', 'rounds', 'runs']
    far = merged('far', run('far', [900, 1000], [.1, .2]))
    tables = merged_tables([BETTER, far])
    assert 'no common boxes' in tables['methods'].title
    assert rows(tables['methods'])[1]['mean AP'] == ''
    assert rows(tables['boxes_needed'])[0]['seeds'] == ''
    assert 'paired_boxes' not in tables


def band(png, bgr):
    """Share of the pixels in the pale colour of a band."""
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (630, 1500, 3)
    pale = 255 - .15 * (255 - np.array(bgr))
    return (np.abs(image - pale).max(-1) < 4).mean()


def test_only_several_runs_have_a_band():
    blue = (0xB2, 0x72, 0x00)
    assert band(draw_merged([BETTER, WORSE]), blue) > .01
    assert band(draw_merged([merged('a', A)]), blue) < 1e-3


@pytest.mark.parametrize('number, shape', [
    (7, (630, 1500, 3)), (8, (630, 1875, 3)), (30, (765, 1875, 3))])
def test_the_legend_of_many_methods_stands_beside_the_panels(number, shape):
    curves = [replace(WORSE, name=f'{i}') for i in range(number - 1)]
    image = cv2.imdecode(np.frombuffer(draw_merged([*curves, BETTER]),
                                       np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == shape
    if number > 7:
        best = hexadecimal(class_colours(number)[-1])
        bgr = [int(best[i:i + 2], 16) for i in (5, 3, 1)]
        rows = np.flatnonzero(
            (np.abs(image[:, 1600:].astype(int) - bgr).max(-1) < 8).any(1))
        assert len(rows) and rows.max() < 40  # the best comes first


def test_files(tmp_path):
    tables = merged_tables([BETTER, WORSE])
    folder = tmp_path / 'new'
    page = write_merged([BETTER, WORSE], tables, ['A note.'], str(folder))
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        ['merged.md', 'curves.png', *(f'{n}.csv' for n in tables)])
    with open(page, encoding='utf-8') as f:
        text = f.read()
    assert text.startswith('# better, worse\n') and '(curves.png)' in text
    assert text.endswith('- A note.\n') and '**boxes needed to' in text
